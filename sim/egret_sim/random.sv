// The random numbers of the harness: xorshift32 (Marsaglia, "Xorshift RNGs", 2003). A seed must not be 0.
package egret_random;
    function automatic int unsigned next(int unsigned state);
        state = state ^ (state << 13);
        state = state ^ (state >> 17);
        return state ^ (state << 5);
    endfunction
endpackage
