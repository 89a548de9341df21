// LUT4 of ECP5: the bit of INIT that its inputs name. For simulation only.

module LUT4 #(
    parameter [15:0] INIT = 16'h0
) (
    input A, B, C, D,
    output Z
);
    assign Z = INIT[{D, C, B, A}];
endmodule
