// PFUMX of ECP5: chooses between two look-up tables of a slice. For simulation only.

module PFUMX (
    input ALUT, BLUT, C0,
    output Z
);
    assign Z = C0 ? ALUT : BLUT;
endmodule
