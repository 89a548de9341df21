// MULT18X18D of ECP5: an 18 x 18 multiplier with optional registers at its operands, inside, and at its product.
//
// For simulation only. After Lattice's "ECP5 and ECP5-5G sysDSP Usage Guide" (FPGA-TN-02205), as far as the design
// uses the block: one clock, one clock enable, one synchronous reset, operands from the fabric.

module MULT18X18D #(
    parameter REG_INPUTA_CLK = "NONE",
    parameter REG_INPUTB_CLK = "NONE",
    parameter REG_PIPELINE_CLK = "NONE",
    parameter REG_OUTPUT_CLK = "NONE",
    /* verilator lint_off UNUSEDPARAM */
    parameter GSR = "ENABLED"  // the global reset is not modelled
    /* verilator lint_on UNUSEDPARAM */
) (
    input CLK0, CE0, RST0, SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    input A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17, P16,
        P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0
);
    wire [18:0] a_pins = {SIGNEDA & A17, A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3,
        A2, A1, A0};
    wire [18:0] b_pins = {SIGNEDB & B17, B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3,
        B2, B1, B0};
    reg signed [18:0] a_register = 0, b_register = 0;
    reg signed [35:0] pipeline_register = 0, output_register = 0;

    // The bit above an operand is its sign, or 0 where the operand is unsigned.
    wire signed [18:0] a = REG_INPUTA_CLK == "NONE" ? a_pins : a_register;
    wire signed [18:0] b = REG_INPUTB_CLK == "NONE" ? b_pins : b_register;
    wire signed [37:0] exact = a * b;
    wire signed [35:0] inner = REG_PIPELINE_CLK == "NONE" ? exact[35:0] : pipeline_register;
    wire [35:0] product = REG_OUTPUT_CLK == "NONE" ? inner : output_register;
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18, P17,
        P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = product;

    always @(posedge CLK0) begin
        if (RST0) begin
            a_register <= 0;
            b_register <= 0;
            pipeline_register <= 0;
            output_register <= 0;
        end else if (CE0) begin
            a_register <= a_pins;
            b_register <= b_pins;
            pipeline_register <= exact[35:0];
            output_register <= inner;
        end
    end

    initial begin
        if (REG_INPUTA_CLK != "NONE" && REG_INPUTA_CLK != "CLK0") $fatal(1, "REG_INPUTA_CLK is not modelled");
        if (REG_INPUTB_CLK != "NONE" && REG_INPUTB_CLK != "CLK0") $fatal(1, "REG_INPUTB_CLK is not modelled");
        if (REG_PIPELINE_CLK != "NONE" && REG_PIPELINE_CLK != "CLK0") $fatal(1, "REG_PIPELINE_CLK is not modelled");
        if (REG_OUTPUT_CLK != "NONE" && REG_OUTPUT_CLK != "CLK0") $fatal(1, "REG_OUTPUT_CLK is not modelled");
    end

    always @(posedge CLK0) if (SOURCEA || SOURCEB) $fatal(1, "operands from the cascade are not modelled");
endmodule
