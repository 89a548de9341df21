// Block memories of Gowin: 16384 bits in bytes of 8 (SP, DPB, SDPB), or 18432 in bytes of 9 (SPX9, DPX9B, SDPX9B).
//
// For simulation only. After Gowin's "BSRAM & SSRAM User Guide" (UG285), as far as Yosys uses the blocks: no pipeline
// register at the output, no reset. A cell of one kind is two ports of one memory:
//   SP    one port that reads or writes     (port A)
//   DPB   two of them
//   SDPB  one that writes (A), one that reads (B)
//
// A word that one port reads while the other writes it is undefined. The model then gives the complement of the old one,
// so that a design that needs it fails.

module egret_gowin_bsram #(
    parameter BYTE = 8,
    parameter WIDTH_A = 8,
    parameter WIDTH_B = 8,
    parameter READ_MODE = 0,
    parameter [1:0] WRITE_MODE_A = 0,
    parameter [1:0] WRITE_MODE_B = 0,
    parameter [2048*BYTE-1:0] INIT = 0
) (
    input CLKA, CEA, WREA, RESETA,
    input [13:0] ADA,
    input [4*BYTE-1:0] DIA,
    output [4*BYTE-1:0] DOA,
    input CLKB, CEB, WREB, RESETB,
    input [13:0] ADB,
    input [4*BYTE-1:0] DIB,
    output [4*BYTE-1:0] DOB
);
    localparam ROW = 4 * BYTE;
    localparam [1:0] NORMAL = 0, WRITE_THROUGH = 1, READ_BEFORE_WRITE = 2;
    reg [ROW-1:0] rows[0:511];
    reg [ROW-1:0] latch_a = 0, latch_b = 0;

    // Where a word starts in its row of four bytes. An address counts bits of a 16 Kbit memory, so a word leaves the lowest
    // address bits unused; of bytes of 9 bits, they count 8.
    function automatic [5:0] place(input [13:0] address, input integer width);
        case (width)
            1: place = BYTE * address[4:3] + address[2:0];
            2: place = BYTE * address[4:3] + 2 * address[2:1];
            4: place = BYTE * address[4:3] + 4 * address[2];
            BYTE: place = BYTE * address[4:3];
            2 * BYTE: place = 2 * BYTE * address[4];
            default: place = 0;
        endcase
    endfunction

    function automatic [ROW-1:0] ones(input integer width);
        ones = ~{ROW{1'b1}};
        for (int bit_number = 0; bit_number < width; bit_number++) ones[bit_number] = 1'b1;
    endfunction

    // Words of two and four bytes have a write enable for each byte, in place of their lowest address bits.
    function automatic [ROW-1:0] enabled(input [13:0] address, input integer width);
        case (width)
            4 * BYTE: enabled = {{BYTE{address[3]}}, {BYTE{address[2]}}, {BYTE{address[1]}}, {BYTE{address[0]}}};
            2 * BYTE: enabled = {{2 * BYTE{1'b0}}, {BYTE{address[1]}}, {BYTE{address[0]}}} << place(address, width);
            default: enabled = ones(width) << place(address, width);
        endcase
    endfunction

    wire [ROW-1:0] mask_a = CEA && WREA ? enabled(ADA, WIDTH_A) : {ROW{1'b0}};
    wire [ROW-1:0] mask_b = CEB && WREB ? enabled(ADB, WIDTH_B) : {ROW{1'b0}};
    wire [ROW-1:0] row_a = rows[ADA[13:5]];
    wire [ROW-1:0] row_b = rows[ADB[13:5]];
    wire [ROW-1:0] new_a = (row_a & ~mask_a) | ((DIA & ones(WIDTH_A)) << place(ADA, WIDTH_A) & mask_a);
    wire [ROW-1:0] new_b = (row_b & ~mask_b) | ((DIB & ones(WIDTH_B)) << place(ADB, WIDTH_B) & mask_b);
    wire same = ADA[13:5] == ADB[13:5];
    wire spoilt_a = same && (mask_b & ones(WIDTH_A) << place(ADA, WIDTH_A)) != 0;
    wire spoilt_b = same && (mask_a & ones(WIDTH_B) << place(ADB, WIDTH_B)) != 0;

    always @(posedge CLKA) begin
        if (CEA && !WREA || CEA && WRITE_MODE_A == READ_BEFORE_WRITE)
            latch_a <= (row_a ^ {ROW{spoilt_a}}) >> place(ADA, WIDTH_A) & ones(WIDTH_A);
        else if (CEA && WRITE_MODE_A == WRITE_THROUGH) latch_a <= new_a >> place(ADA, WIDTH_A) & ones(WIDTH_A);
        if (mask_a != 0) rows[ADA[13:5]] <= new_a;
    end

    always @(posedge CLKB) begin
        if (CEB && !WREB || CEB && WRITE_MODE_B == READ_BEFORE_WRITE)
            latch_b <= (row_b ^ {ROW{spoilt_b}}) >> place(ADB, WIDTH_B) & ones(WIDTH_B);
        else if (CEB && WRITE_MODE_B == WRITE_THROUGH) latch_b <= new_b >> place(ADB, WIDTH_B) & ones(WIDTH_B);
        if (mask_b != 0) rows[ADB[13:5]] <= new_b;
    end

    assign DOA = latch_a;
    assign DOB = latch_b;

    integer row;
    initial begin
        for (row = 0; row < 512; row = row + 1) rows[row] = INIT[ROW*row+:ROW];
        if (READ_MODE != 0) $fatal(1, "the output register is not modelled");
        if (WRITE_MODE_A == 3 || WRITE_MODE_B == 3) $fatal(1, "there is no such WRITE_MODE");
    end

    always @(posedge CLKA) begin
        if (RESETA) $fatal(1, "reset is not modelled");
        if (same && (mask_a & mask_b) != 0) $fatal(1, "both ports write the same word");
    end
    always @(posedge CLKB) if (RESETB) $fatal(1, "reset is not modelled");
endmodule

// Contents, 64 parameters of 32 bytes.
`define EGRET_GOWIN_INIT(n) parameter [32*`EGRET_GOWIN_BYTE-1:0] INIT_RAM_``n = 0
`define EGRET_GOWIN_INIT16(n) \
    `EGRET_GOWIN_INIT(n``0), `EGRET_GOWIN_INIT(n``1), `EGRET_GOWIN_INIT(n``2), `EGRET_GOWIN_INIT(n``3), \
    `EGRET_GOWIN_INIT(n``4), `EGRET_GOWIN_INIT(n``5), `EGRET_GOWIN_INIT(n``6), `EGRET_GOWIN_INIT(n``7), \
    `EGRET_GOWIN_INIT(n``8), `EGRET_GOWIN_INIT(n``9), `EGRET_GOWIN_INIT(n``A), `EGRET_GOWIN_INIT(n``B), \
    `EGRET_GOWIN_INIT(n``C), `EGRET_GOWIN_INIT(n``D), `EGRET_GOWIN_INIT(n``E), `EGRET_GOWIN_INIT(n``F)
`define EGRET_GOWIN_INITS \
    `EGRET_GOWIN_INIT16(0), `EGRET_GOWIN_INIT16(1), `EGRET_GOWIN_INIT16(2), `EGRET_GOWIN_INIT16(3)
`define EGRET_GOWIN_ALL16(n) \
    INIT_RAM_``n``F, INIT_RAM_``n``E, INIT_RAM_``n``D, INIT_RAM_``n``C, INIT_RAM_``n``B, INIT_RAM_``n``A, \
    INIT_RAM_``n``9, INIT_RAM_``n``8, INIT_RAM_``n``7, INIT_RAM_``n``6, INIT_RAM_``n``5, INIT_RAM_``n``4, \
    INIT_RAM_``n``3, INIT_RAM_``n``2, INIT_RAM_``n``1, INIT_RAM_``n``0
`define EGRET_GOWIN_ALL \
    {`EGRET_GOWIN_ALL16(3), `EGRET_GOWIN_ALL16(2), `EGRET_GOWIN_ALL16(1), `EGRET_GOWIN_ALL16(0)}
// What is not modelled is checked inside.
/* verilator lint_off UNUSEDPARAM */

// One port that reads or writes.
`define EGRET_GOWIN_SP(NAME) \
module NAME #( \
    parameter READ_MODE = 0, parameter WRITE_MODE = 0, parameter BIT_WIDTH = 4 * `EGRET_GOWIN_BYTE, \
    parameter [2:0] BLK_SEL = 0, parameter RESET_MODE = "SYNC", `EGRET_GOWIN_INITS \
) ( \
    input CLK, CE, OCE, WRE, RESET, \
    input [2:0] BLKSEL, \
    input [13:0] AD, \
    input [4*`EGRET_GOWIN_BYTE-1:0] DI, \
    output [4*`EGRET_GOWIN_BYTE-1:0] DO \
); \
    egret_gowin_bsram #( \
        .BYTE(`EGRET_GOWIN_BYTE), .WIDTH_A(BIT_WIDTH), .READ_MODE(READ_MODE), .WRITE_MODE_A(WRITE_MODE), \
        .INIT(`EGRET_GOWIN_ALL) \
    ) memory ( \
        .CLKA(CLK), .CEA(CE && BLKSEL == BLK_SEL), .WREA(WRE), .RESETA(RESET), .ADA(AD), .DIA(DI), .DOA(DO), \
        .CLKB(1'b0), .CEB(1'b0), .WREB(1'b0), .RESETB(1'b0), .ADB(14'd0), .DIB({4*`EGRET_GOWIN_BYTE{1'b0}}), .DOB() \
    ); \
endmodule

// Two ports that read or write.
`define EGRET_GOWIN_DP(NAME) \
module NAME #( \
    parameter READ_MODE0 = 0, parameter READ_MODE1 = 0, parameter WRITE_MODE0 = 0, parameter WRITE_MODE1 = 0, \
    parameter BIT_WIDTH_0 = 2 * `EGRET_GOWIN_BYTE, parameter BIT_WIDTH_1 = 2 * `EGRET_GOWIN_BYTE, \
    parameter [2:0] BLK_SEL_0 = 0, parameter [2:0] BLK_SEL_1 = 0, parameter RESET_MODE = "SYNC", \
    `EGRET_GOWIN_INITS \
) ( \
    input CLKA, CEA, OCEA, WREA, RESETA, CLKB, CEB, OCEB, WREB, RESETB, \
    input [2:0] BLKSELA, BLKSELB, \
    input [13:0] ADA, ADB, \
    input [2*`EGRET_GOWIN_BYTE-1:0] DIA, DIB, \
    output [2*`EGRET_GOWIN_BYTE-1:0] DOA, DOB \
); \
    wire [2*`EGRET_GOWIN_BYTE-1:0] rest_a, rest_b; \
    egret_gowin_bsram #( \
        .BYTE(`EGRET_GOWIN_BYTE), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), \
        .READ_MODE(READ_MODE0 | READ_MODE1), .WRITE_MODE_A(WRITE_MODE0), .WRITE_MODE_B(WRITE_MODE1), \
        .INIT(`EGRET_GOWIN_ALL) \
    ) memory ( \
        .CLKA(CLKA), .CEA(CEA && BLKSELA == BLK_SEL_0), .WREA(WREA), .RESETA(RESETA), .ADA(ADA), \
        .DIA({{2*`EGRET_GOWIN_BYTE{1'b0}}, DIA}), .DOA({rest_a, DOA}), \
        .CLKB(CLKB), .CEB(CEB && BLKSELB == BLK_SEL_1), .WREB(WREB), .RESETB(RESETB), .ADB(ADB), \
        .DIB({{2*`EGRET_GOWIN_BYTE{1'b0}}, DIB}), .DOB({rest_b, DOB}) \
    ); \
endmodule

// A port that writes, and one that reads.
`define EGRET_GOWIN_SDP(NAME) \
module NAME #( \
    parameter READ_MODE = 0, \
    parameter BIT_WIDTH_0 = 4 * `EGRET_GOWIN_BYTE, parameter BIT_WIDTH_1 = 4 * `EGRET_GOWIN_BYTE, \
    parameter [2:0] BLK_SEL_0 = 0, parameter [2:0] BLK_SEL_1 = 0, parameter RESET_MODE = "SYNC", \
    `EGRET_GOWIN_INITS \
) ( \
    input CLKA, CEA, RESETA, CLKB, CEB, OCE, RESETB, \
    input [2:0] BLKSELA, BLKSELB, \
    input [13:0] ADA, ADB, \
    input [4*`EGRET_GOWIN_BYTE-1:0] DI, \
    output [4*`EGRET_GOWIN_BYTE-1:0] DO \
); \
    egret_gowin_bsram #( \
        .BYTE(`EGRET_GOWIN_BYTE), .WIDTH_A(BIT_WIDTH_0), .WIDTH_B(BIT_WIDTH_1), .READ_MODE(READ_MODE), \
        .INIT(`EGRET_GOWIN_ALL) \
    ) memory ( \
        .CLKA(CLKA), .CEA(CEA && BLKSELA == BLK_SEL_0), .WREA(1'b1), .RESETA(RESETA), .ADA(ADA), .DIA(DI), .DOA(), \
        .CLKB(CLKB), .CEB(CEB && BLKSELB == BLK_SEL_1), .WREB(1'b0), .RESETB(RESETB), .ADB(ADB), \
        .DIB({4*`EGRET_GOWIN_BYTE{1'b0}}), .DOB(DO) \
    ); \
endmodule

`define EGRET_GOWIN_BYTE 8
`EGRET_GOWIN_SP(SP)
`EGRET_GOWIN_DP(DPB)
`EGRET_GOWIN_SDP(SDPB)
`undef EGRET_GOWIN_BYTE
`define EGRET_GOWIN_BYTE 9
`EGRET_GOWIN_SP(SPX9)
`EGRET_GOWIN_DP(DPX9B)
`EGRET_GOWIN_SDP(SDPX9B)
/* verilator lint_on UNUSEDPARAM */
