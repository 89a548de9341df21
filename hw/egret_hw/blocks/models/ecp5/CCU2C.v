// CCU2C of ECP5: two tables and their carry chain, as an adder. For simulation only.
//
// After FPGA-TN-02012's account of the slice in ripple mode: a bit is its table's value, XOR the carry. The carry goes on
// where that value is 1; else it is what the table's lowest four bits make of A and B. Values injected into the
// chain (INJECT1 = "YES") are not modelled.

module CCU2C #(
    parameter [15:0] INIT0 = 16'h0, INIT1 = 16'h0,
    parameter INJECT1_0 = "YES", INJECT1_1 = "YES"
) (
    input CIN, A0, B0, C0, D0, A1, B1, C1, D1,
    output S0, S1, COUT
);
    initial
        if (INJECT1_0 != "NO" || INJECT1_1 != "NO") begin
            $display("CCU2C: INJECT1 must be NO");
            $fatal;
        end
    wire table0 = INIT0[{D0, C0, B0, A0}];
    wire table1 = INIT1[{D1, C1, B1, A1}];
    wire carry = table0 ? CIN : INIT0[{2'b0, B0, A0}];
    assign S0 = table0 ^ CIN;
    assign S1 = table1 ^ carry;
    assign COUT = table1 ? carry : INIT1[{2'b0, B1, A1}];
endmodule
