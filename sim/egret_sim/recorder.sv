// Records the tokens of a tap or of a stream, each with the cycle in which it was transferred.
//
// `memory` is a ring of rows of SLOTS entries of 128 bits: the token in the lower half, the cycle in
// the upper one. It never holds a token back: the bench reads it before it wraps.
module egret_recorder #(
    parameter int TOKEN_BITS = 8,
    parameter int KIND_OFFSET = 0,
    parameter int KIND_BITS = 2,
    parameter int SLOTS = 16,
    parameter int ROWS = 512
) (
    input logic clk,
    input logic rst,
    input longint unsigned cycle,
    input logic strobe,
    input logic [TOKEN_BITS-1:0] token
);
    localparam logic [KIND_BITS-1:0] END = KIND_BITS'(2);

    // Read by the bench.
    logic [128*SLOTS-1:0] memory[ROWS];
    longint unsigned count = 0;
    longint unsigned ends = 0;

    always_ff @(posedge clk) begin
        if (strobe && !rst) begin
            memory[int'(count / SLOTS) % ROWS][128*(int'(count)%SLOTS)+:128] <= {cycle, 64'(token)};
            count <= count + 1;
            if (token[KIND_OFFSET+:KIND_BITS] == END) ends <= ends + 1;
        end
    end
endmodule
