// Takes a stream, with random pauses, and checks that its source keeps to the handshake: a payload that
// was offered stays offered, unchanged, until it is taken.
module egret_sink #(
    parameter int TOKEN_BITS = 8
) (
    input logic clk,
    input logic rst,
    input longint unsigned cycle,
    input logic [TOKEN_BITS-1:0] payload,
    input logic valid,
    output logic ready
);
    // Written by the bench.
    int unsigned seed = 1;
    int unsigned gap_chance = 0;  // in 1/256, in each cycle in which it is ready
    int unsigned gap_mask = 0;    // of one pause in four; the others are short
    // Read by the bench.
    logic broken = 0;
    longint unsigned broken_cycle = 0;

    int unsigned random = 1;
    int unsigned gap = 0;
    logic waiting = 0;
    logic [TOKEN_BITS-1:0] offered = 0;

    assign ready = gap == 0 && !rst;

    always_ff @(posedge clk) begin
        random <= rst ? seed : egret_random::next(random);
        if (rst) gap <= 0;
        else if (gap != 0) gap <= gap - 1;
        else if (random[7:0] < gap_chance[8:0]) gap <= 1 + ((random >> 8) & (random[31:30] == 0 ? gap_mask : 3));

        waiting <= valid && !ready && !rst;
        offered <= payload;
        if (waiting && !broken && (!valid || payload != offered)) begin
            broken <= 1;
            broken_cycle <= cycle;
        end
    end
endmodule
