// Plays tokens from a memory into a stream, with random gaps between them.
//
// A bench fills `memory` in rows of SLOTS tokens of 64 bits, and then raises `filled`, the number of
// tokens that are ready to play. The memory is a ring: a row may be written anew when all of it was played.
// `valid` never waits for `ready`, and once raised it stays until the token is taken.
module egret_player #(
    parameter int TOKEN_BITS = 8,
    parameter int SLOTS = 32,
    parameter int ROWS = 256
) (
    input logic clk,
    input logic rst,
    output logic [TOKEN_BITS-1:0] payload,
    output logic valid,
    input logic ready
);
    // Written by the bench.
    logic [64*SLOTS-1:0] memory[ROWS];
    longint unsigned filled = 0;
    int unsigned seed = 1;
    int unsigned gap_chance = 0;  // in 1/256, after each token
    int unsigned gap_mask = 0;    // of one gap in four; the others are short
    // Read by the bench.
    longint unsigned played = 0;

    int unsigned random = 1;
    int unsigned gap = 0;
    logic [63:0] slot;

    assign slot = memory[int'(played / SLOTS) % ROWS][64*(int'(played)%SLOTS)+:64];
    assign payload = slot[TOKEN_BITS-1:0];
    assign valid = gap == 0 && played < filled && !rst;

    always_ff @(posedge clk) begin
        random <= rst ? seed : egret_random::next(random);
        if (rst) begin
            gap <= 0;
        end else if (gap != 0) begin
            gap <= gap - 1;
        end else if (valid && ready) begin
            played <= played + 1;
            if (random[7:0] < gap_chance[8:0]) gap <= 1 + ((random >> 8) & (random[31:30] == 0 ? gap_mask : 3));
        end
    end
endmodule
