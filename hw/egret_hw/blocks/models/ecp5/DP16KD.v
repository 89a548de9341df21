// DP16KD of ECP5: a block memory of 1024 x 18 bits with two ports, each 1, 2, 4, 9 or 18 bits wide and with
    an optional
// output register, or one write port (A) and one read port (B) of 36 bits. For simulation only. After
    Lattice's "ECP5
// and ECP5-5G Memory Usage Guide" (FPGA-TN-02204), as far as the design uses the block: synchronous reset,
    write mode
// NORMAL (a port's output keeps its word while the port writes), no chip select.
//
// A word that one port reads while the other writes it is undefined: the model then gives the complement of
    the old
// one, so that a design that needs it fails.

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
    parameter GSR = "ENABLED"
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
    reg [17:0] rows[0:1023];

    wire [13:0] address_A = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1,
        ADA0};
    wire [17:0] word_A = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9, DIA8, DIA7, DIA6,
        DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
    reg [35:0] latch_A = 0, register_A = 0;

    wire [13:0] address_B = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1,
        ADB0};
    wire [17:0] word_B = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9, DIB8, DIB7, DIB6,
        DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
    reg [35:0] latch_B = 0, register_B = 0;

    // The address counts bits of a 16 Kbit memory: 14 bits of which a word of n bits leaves the lowest
        unused. Of each
    // nine bits, the ninth belongs to widths of 9 and more only.
    function automatic [4:0] place(input [13:0] address, input integer width);
        place = 9 * address[3] + (width == 1 ? address[2:0] : width == 2 ? address[2:1] * 2
            : width == 4 ? address[2] * 4 : 0);
    endfunction

    // Which of a row's bits a port writes. Words of several bytes have an enable for each in the lowest
        address bits.
    function automatic [17:0] mask(input [13:0] address, input integer width, input half);
        if (width == 36) mask = {{9{half ? address[3] : address[1]}}, {9{half ? address[2] : address[0]}}};
        else if (width == 18) mask = {{9{address[1]}}, {9{address[0]}}};
        else mask = ((18'd1 << width) - 18'd1) << place(address, width);
    endfunction

    function automatic [35:0] read(input [13:0] address, input integer width);
        if (width == 36) read = {rows[{address[13:5], 1'b1}], rows[{address[13:5], 1'b0}]};
        else if (width == 18) read = {18'd0, rows[address[13:4]]};
        else read = {18'd0, (rows[address[13:4]] >> place(address, width)) & ((18'd1 << width) - 18'd1)};
    endfunction

    function automatic [17:0] written(input [17:0] row, input [17:0] bits, input [17:0] enabled);
        written = (row & ~enabled) | (bits & enabled);
    endfunction

    wire selected_A = {CSA2, CSA1, CSA0} == 3'b000;
    wire selected_B = {CSB2, CSB1, CSB0} == 3'b000;
    wire wide = DATA_WIDTH_A == 36;
    wire write_A = CEA && WEA && selected_A;
    wire write_B = CEB && WEB && selected_B && !wide;
    wire read_A = CEA && !WEA && selected_A && !wide;
    wire read_B = CEB && !WEB && selected_B;
    wire [17:0] bits_A = DATA_WIDTH_A >= 18 ? word_A : word_A << place(address_A, DATA_WIDTH_A);
    wire [17:0] bits_B = DATA_WIDTH_B >= 18 ? word_B : word_B << place(address_B, DATA_WIDTH_B);
    wire same_row = wide ? address_A[13:5] == address_B[13:5] : address_A[13:4] == address_B[13:4];
    // Both ports share a clock: what one writes is compared with what the other reads at the same edge.
    wire spoilt_A = write_B && same_row
        && (mask(address_B, DATA_WIDTH_B, 1'b0) & mask_read(address_A, DATA_WIDTH_A)) != 0;
    wire spoilt_B = write_A && same_row
        && (wide ? address_A[3:0] != 0 : (mask(address_A, DATA_WIDTH_A, 1'b0) & mask_read(address_B,
            DATA_WIDTH_B)) != 0);

    function automatic [17:0] mask_read(input [13:0] address, input integer width);
        mask_read = width >= 18 ? 18'h3ffff : mask(address, width, 1'b0);
    endfunction

    always @(posedge CLKA) begin
        if (RSTA) register_A <= 0;
        else if (OCEA) register_A <= latch_A;
        if (read_A) latch_A <= read(address_A, DATA_WIDTH_A) ^ {36{spoilt_A}};
        if (write_A && wide) begin
            rows[{address_A[13:5], 1'b0}] <= written(
                rows[{address_A[13:5], 1'b0}], word_A, mask(address_A, 36, 1'b0));
            rows[{address_A[13:5], 1'b1}] <= written(
                rows[{address_A[13:5], 1'b1}], word_B, mask(address_A, 36, 1'b1));
        end else if (write_A) begin
            rows[address_A[13:4]] <= written(rows[address_A[13:4]], bits_A, mask(address_A, DATA_WIDTH_A,
                1'b0));
        end
    end

    always @(posedge CLKB) begin
        if (RSTB) register_B <= 0;
        else if (OCEB) register_B <= latch_B;
        if (read_B) latch_B <= read(address_B, DATA_WIDTH_B) ^ {36{spoilt_B}};
        if (write_B)
            rows[address_B[13:4]] <= written(rows[address_B[13:4]], bits_B, mask(address_B, DATA_WIDTH_B,
                1'b0));
    end

    wire [35:0] data_A = REGMODE_A == "OUTREG" ? register_A : latch_A;
    wire [35:0] data_B = REGMODE_B == "OUTREG" ? register_B : latch_B;
    // A word of 36 bits leaves through the data pins of both ports, its lower half at port A.
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9, DOA8, DOA7, DOA6, DOA5, DOA4, DOA3,
        DOA2, DOA1, DOA0} = wide ? data_B[17:0] : data_A[17:0];
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9, DOB8, DOB7, DOB6, DOB5, DOB4, DOB3,
        DOB2, DOB1, DOB0} = wide ? data_B[35:18] : data_B[17:0];

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
        for (row = 0; row < 1024; row = row + 1) rows[row] = INITIAL[20*row +: 18];
        if ((DATA_WIDTH_A == 36) != (DATA_WIDTH_B == 36)) $fatal(1, "only both ports together are 36 bits
            wide");
        if (RESETMODE != "SYNC") $fatal(1, "RESETMODE is not modelled");
        if (WRITEMODE_A != "NORMAL" || WRITEMODE_B != "NORMAL") $fatal(1, "WRITEMODE is not modelled");
        if (CSDECODE_A != "0b000" || CSDECODE_B != "0b000") $fatal(1, "CSDECODE is not modelled");
    end
endmodule
