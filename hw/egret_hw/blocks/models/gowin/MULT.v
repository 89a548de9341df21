// MULT9X9, MULT18X18 and MULT36X36 of Gowin: multipliers with optional registers, operands signed or not.
//
// For simulation only. After Gowin's "Digital Signal Processing (DSP) User Guide" (UG287), as far as Yosys uses the
// blocks: without a register, operands from the fabric. The shift chain is not modelled.

module egret_gowin_mult #(
    parameter WIDTH = 9,
    parameter REGISTERS = 0
) (
    input [WIDTH-1:0] A, B,
    input ASIGN, BSIGN, CHAIN,
    output [2*WIDTH-1:0] DOUT
);
    // The bit above an operand is its sign, or 0 where the operand is unsigned.
    wire signed [WIDTH:0] a = {ASIGN & A[WIDTH-1], A};
    wire signed [WIDTH:0] b = {BSIGN & B[WIDTH-1], B};
    wire signed [2*WIDTH+1:0] exact = a * b;
    assign DOUT = exact[2*WIDTH-1:0];

    initial if (REGISTERS != 0) $fatal(1, "registers are not modelled");
    always @(CHAIN) if (CHAIN) $fatal(1, "operands from the chain are not modelled");
endmodule

`define EGRET_GOWIN_MULT(NAME, BITS) \
module NAME #( \
    parameter AREG = 1'b0, BREG = 1'b0, OUT_REG = 1'b0, PIPE_REG = 1'b0, ASIGN_REG = 1'b0, BSIGN_REG = 1'b0, \
    parameter SOA_REG = 1'b0, MULT_RESET_MODE = "SYNC" \
) ( \
    input [BITS-1:0] A, B, SIA, SIB, \
    input ASIGN, BSIGN, ASEL, BSEL, CE, CLK, RESET, \
    output [2*BITS-1:0] DOUT, \
    output [BITS-1:0] SOA, SOB \
); \
    egret_gowin_mult #( \
        .WIDTH(BITS), .REGISTERS(AREG | BREG | OUT_REG | PIPE_REG | ASIGN_REG | BSIGN_REG | SOA_REG) \
    ) multiplier (.A(A), .B(B), .ASIGN(ASIGN), .BSIGN(BSIGN), .CHAIN(ASEL | BSEL), .DOUT(DOUT)); \
    assign SOA = 0; \
    assign SOB = 0; \
endmodule
/* verilator lint_off UNUSEDPARAM */
`EGRET_GOWIN_MULT(MULT9X9, 9)
`EGRET_GOWIN_MULT(MULT18X18, 18)

module MULT36X36 #(
    parameter AREG = 1'b0, BREG = 1'b0, OUT0_REG = 1'b0, OUT1_REG = 1'b0, PIPE_REG = 1'b0, ASIGN_REG = 1'b0,
    parameter BSIGN_REG = 1'b0, MULT_RESET_MODE = "SYNC"
) (
    input [35:0] A, B,
    input ASIGN, BSIGN, CE, CLK, RESET,
    output [71:0] DOUT
);
    egret_gowin_mult #(
        .WIDTH(36), .REGISTERS(AREG | BREG | OUT0_REG | OUT1_REG | PIPE_REG | ASIGN_REG | BSIGN_REG)
    ) multiplier (.A(A), .B(B), .ASIGN(ASIGN), .BSIGN(BSIGN), .CHAIN(1'b0), .DOUT(DOUT));
endmodule
/* verilator lint_on UNUSEDPARAM */
