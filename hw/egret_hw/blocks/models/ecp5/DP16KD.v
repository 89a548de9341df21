// DP16KD of ECP5: a block memory of 1024 x 18 bits with two ports, each 1, 2, 4, 9 or 18 bits wide and with an
// optional output register, or with one write port (A) and one read port (B) of 36 bits.
//
// For simulation only. After Lattice's "ECP5 and ECP5-5G Memory Usage Guide" (FPGA-TN-02204), as far as the design
// uses the block: writes at port A, synchronous reset of the output registers, no chip select, and write mode
// NORMAL, in which the output keeps its word while its port writes.
//
// A word that port B reads while port A writes it is undefined. The model then gives the complement of the old one,
// so that a design that needs it fails.

module DP16KD #(
    parameter DATA_WIDTH_A = 18,
    parameter DATA_WIDTH_B = 18,
    parameter REGMODE_A = "NOREG",
    parameter REGMODE_B = "NOREG",
    parameter WRITEMODE_A = "NORMAL",
    parameter WRITEMODE_B = "NORMAL",
    parameter RESETMODE = "SYNC",
    parameter CSDECODE_A = "0b000",
    parameter CSDECODE_B = "0b000",
    parameter [319:0] INITVAL_00 = 320'h0,
    parameter [319:0] INITVAL_01 = 320'h0,
    parameter [319:0] INITVAL_02 = 320'h0,
    parameter [319:0] INITVAL_03 = 320'h0,
    parameter [319:0] INITVAL_04 = 320'h0,
    parameter [319:0] INITVAL_05 = 320'h0,
    parameter [319:0] INITVAL_06 = 320'h0,
    parameter [319:0] INITVAL_07 = 320'h0,
    parameter [319:0] INITVAL_08 = 320'h0,
    parameter [319:0] INITVAL_09 = 320'h0,
    parameter [319:0] INITVAL_0A = 320'h0,
    parameter [319:0] INITVAL_0B = 320'h0,
    parameter [319:0] INITVAL_0C = 320'h0,
    parameter [319:0] INITVAL_0D = 320'h0,
    parameter [319:0] INITVAL_0E = 320'h0,
    parameter [319:0] INITVAL_0F = 320'h0,
    parameter [319:0] INITVAL_10 = 320'h0,
    parameter [319:0] INITVAL_11 = 320'h0,
    parameter [319:0] INITVAL_12 = 320'h0,
    parameter [319:0] INITVAL_13 = 320'h0,
    parameter [319:0] INITVAL_14 = 320'h0,
    parameter [319:0] INITVAL_15 = 320'h0,
    parameter [319:0] INITVAL_16 = 320'h0,
    parameter [319:0] INITVAL_17 = 320'h0,
    parameter [319:0] INITVAL_18 = 320'h0,
    parameter [319:0] INITVAL_19 = 320'h0,
    parameter [319:0] INITVAL_1A = 320'h0,
    parameter [319:0] INITVAL_1B = 320'h0,
    parameter [319:0] INITVAL_1C = 320'h0,
    parameter [319:0] INITVAL_1D = 320'h0,
    parameter [319:0] INITVAL_1E = 320'h0,
    parameter [319:0] INITVAL_1F = 320'h0,
    parameter [319:0] INITVAL_20 = 320'h0,
    parameter [319:0] INITVAL_21 = 320'h0,
    parameter [319:0] INITVAL_22 = 320'h0,
    parameter [319:0] INITVAL_23 = 320'h0,
    parameter [319:0] INITVAL_24 = 320'h0,
    parameter [319:0] INITVAL_25 = 320'h0,
    parameter [319:0] INITVAL_26 = 320'h0,
    parameter [319:0] INITVAL_27 = 320'h0,
    parameter [319:0] INITVAL_28 = 320'h0,
    parameter [319:0] INITVAL_29 = 320'h0,
    parameter [319:0] INITVAL_2A = 320'h0,
    parameter [319:0] INITVAL_2B = 320'h0,
    parameter [319:0] INITVAL_2C = 320'h0,
    parameter [319:0] INITVAL_2D = 320'h0,
    parameter [319:0] INITVAL_2E = 320'h0,
    parameter [319:0] INITVAL_2F = 320'h0,
    parameter [319:0] INITVAL_30 = 320'h0,
    parameter [319:0] INITVAL_31 = 320'h0,
    parameter [319:0] INITVAL_32 = 320'h0,
    parameter [319:0] INITVAL_33 = 320'h0,
    parameter [319:0] INITVAL_34 = 320'h0,
    parameter [319:0] INITVAL_35 = 320'h0,
    parameter [319:0] INITVAL_36 = 320'h0,
    parameter [319:0] INITVAL_37 = 320'h0,
    parameter [319:0] INITVAL_38 = 320'h0,
    parameter [319:0] INITVAL_39 = 320'h0,
    parameter [319:0] INITVAL_3A = 320'h0,
    parameter [319:0] INITVAL_3B = 320'h0,
    parameter [319:0] INITVAL_3C = 320'h0,
    parameter [319:0] INITVAL_3D = 320'h0,
    parameter [319:0] INITVAL_3E = 320'h0,
    parameter [319:0] INITVAL_3F = 320'h0,
    /* verilator lint_off UNUSEDPARAM */
    parameter GSR = "ENABLED"  // the global reset is not modelled
    /* verilator lint_on UNUSEDPARAM */
) (
    input CLKA, CEA, OCEA, WEA, RSTA, CSA2, CSA1, CSA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0,
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6, DIA5, DIA4, DIA3,
        DIA2, DIA1, DIA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3,
        DOA2, DOA1, DOA0,
    input CLKB, CEB, OCEB, WEB, RSTB, CSB2, CSB1, CSB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6, DIB5, DIB4, DIB3,
        DIB2, DIB1, DIB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3,
        DOB2, DOB1, DOB0
);
    wire [13:0] address_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1,
        ADA0};
    wire [13:0] address_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1,
        ADB0};
    wire [17:0] pins_a = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6,
        DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
    wire [17:0] pins_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6,
        DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
    wire wide = DATA_WIDTH_A == 36;
    reg [35:0] rows[0:511];
    reg [35:0] latch_a = 0, latch_b = 0, register_a = 0, register_b = 0;

    // Where a word starts in its row of 36 bits. An address counts bits of a 16 Kbit memory, so a word leaves the
    // lowest address bits unused. Of each nine bits, the ninth belongs to widths of 9 and more only.
    function automatic [5:0] place(input [13:0] address, input integer width);
        case (width)
            1: place = 9 * address[4:3] + address[2:0];
            2: place = 9 * address[4:3] + 2 * address[2:1];
            4: place = 9 * address[4:3] + 4 * address[2];
            9: place = 9 * address[4:3];
            18: place = 18 * address[4];
            default: place = 0;
        endcase
    endfunction

    function automatic [35:0] ones(input integer width);
        ones = (36'd1 << width) - 36'd1;
    endfunction

    // Words of 18 and 36 bits have a write enable for each nine bits, in place of their lowest address bits.
    function automatic [35:0] enabled(input [13:0] address, input integer width);
        case (width)
            36: enabled = {{9{address[3]}}, {9{address[2]}}, {9{address[1]}}, {9{address[0]}}};
            18: enabled = {18'd0, {9{address[1]}}, {9{address[0]}}} << place(address, width);
            default: enabled = ones(width) << place(address, width);
        endcase
    endfunction

    wire [35:0] written = wide ? {pins_b, pins_a} : {18'd0, pins_a} << place(address_a, DATA_WIDTH_A);
    wire [35:0] mask = CEA && WEA ? enabled(address_a, DATA_WIDTH_A) : 36'd0;
    wire [35:0] asked = ones(DATA_WIDTH_B) << place(address_b, DATA_WIDTH_B);
    wire spoilt = address_a[13:5] == address_b[13:5] && (mask & asked) != 0;
    wire [35:0] row_a = rows[address_a[13:5]];
    wire [35:0] row_b = rows[address_b[13:5]];

    always @(posedge CLKA) begin
        if (RSTA) register_a <= 0;
        else if (OCEA) register_a <= latch_a;
        if (CEA && !WEA) latch_a <= row_a >> place(address_a, DATA_WIDTH_A);
        rows[address_a[13:5]] <= (row_a & ~mask) | (written & mask);
    end

    always @(posedge CLKB) begin
        if (RSTB) register_b <= 0;
        else if (OCEB) register_b <= latch_b;
        if (CEB) latch_b <= (row_b ^ {36{spoilt}}) >> place(address_b, DATA_WIDTH_B);
        if (CEB && WEB) $fatal(1, "writing at port B is not modelled");
    end

    wire [35:0] data_a = (REGMODE_A == "OUTREG" ? register_a : latch_a) & ones(DATA_WIDTH_A);
    wire [35:0] data_b = (REGMODE_B == "OUTREG" ? register_b : latch_b) & ones(DATA_WIDTH_B);
    // A word of 36 bits leaves through the data pins of both ports, its lower half at port A.
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3,
        DOA2, DOA1, DOA0} = wide ? data_b[17:0] : data_a[17:0];
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3,
        DOB2, DOB1, DOB0} = wide ? data_b[35:18] : data_b[17:0];

    localparam [20479:0] INITIAL = {INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A,
        INITVAL_39, INITVAL_38, INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32,
        INITVAL_31, INITVAL_30, INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A,
        INITVAL_29, INITVAL_28, INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22,
        INITVAL_21, INITVAL_20, INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A,
        INITVAL_19, INITVAL_18, INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12,
        INITVAL_11, INITVAL_10, INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A,
        INITVAL_09, INITVAL_08, INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02,
        INITVAL_01, INITVAL_00};
    integer row;
    initial begin
        for (row = 0; row < 512; row = row + 1) rows[row] = {INITIAL[40*row+20 +: 18], INITIAL[40*row +: 18]};
        if (wide != (DATA_WIDTH_B == 36)) $fatal(1, "only both ports together are 36 bits wide");
        if (RESETMODE != "SYNC") $fatal(1, "this RESETMODE is not modelled");
        if (WRITEMODE_A != "NORMAL" || WRITEMODE_B != "NORMAL") $fatal(1, "this WRITEMODE is not modelled");
        if (CSDECODE_A != "0b000" || CSDECODE_B != "0b000") $fatal(1, "this CSDECODE is not modelled");
    end

    always @(posedge CLKA)
        if ({CSA2, CSA1, CSA0, CSB2, CSB1, CSB0} != 0) $fatal(1, "chip select is not modelled");
endmodule
