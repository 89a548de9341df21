// Runs one Verilated accelerator through a script of phases and records every token that it sends.
//
// Usage: driver SCRIPT RECORD [POINTS [COVERAGE]]. The files but the last are arrays of 64-bit words;
// egret_sim/fuzz/script.py writes the one and reads the other. A phase begins with a reset, unless it goes on
// from the one before; then come words of weights, if there are any. `ports.h` is written for each accelerator.
//
// In each cycle the inputs are set, outputs are read, and then the clock rises: what is read is what a
// register would see at that edge.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "ports.h"

namespace {

using Word = std::uint64_t;

enum Status : Word { FINISHED = 0, RESET = 1, STUCK = 2, BROKEN = 3, FLOODED = 4, REFUSED = 5 };

[[noreturn]] void fail(const char* why) {
    std::fprintf(stderr, "driver: %s\n", why);
    std::exit(1);
}

struct Random {
    Word state;
    std::uint32_t next() {
        Word z = (state += 0x9E3779B97F4A7C15ull);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
        return static_cast<std::uint32_t>((z ^ (z >> 31)) >> 32);
    }
};

// A stream's end that pauses at random: with a chance of `chance` / 256 for a gap, three in four of them short.
struct Gaps {
    Random random;
    Word chance, mask, left = 0;
    bool open() const { return left == 0; }
    void may_begin() {
        if (chance == 0) return;
        const std::uint32_t drawn = random.next();
        if ((drawn & 255) < chance) left = 1 + ((drawn >> 8) & (drawn >> 30 == 0 ? mask : 3));
    }
};

struct Phase {
    Word seed, in_chance, in_mask, out_chance, out_mask;
    Word reset_tokens;  // after so many input tokens, and `reset_delay` cycles, the phase is cut off; 0 = never
    Word reset_delay;
    Word ends;      // END tokens of the logits that are to come
    Word settle;    // cycles of silence after the last of them
    Word patience;  // cycles without any token after which the phase is given up
    Word flood;     // tokens of one stream after which the phase is given up
    Word fresh;     // 1 = begins with a reset
    Word loads;     // words of weights to load before the first event
    Word tokens;
    const Word* stimulus;
    const Word* weights;  // for each: the layer, and LOAD_WORDS of its port
};

struct Recorded {
    std::vector<Word> words;
    void add(Word token, Word cycle) {
        words.push_back(token);
        words.push_back(cycle);
    }
    Word count() const { return words.size() / 2; }
};

std::vector<Word> read_file(const char* path) {
    std::FILE* file = std::fopen(path, "rb");
    if (!file) fail("cannot read the script");
    std::fseek(file, 0, SEEK_END);
    std::vector<Word> words(std::ftell(file) / sizeof(Word));
    std::rewind(file);
    if (std::fread(words.data(), sizeof(Word), words.size(), file) != words.size()) fail("the script is cut off");
    std::fclose(file);
    return words;
}

void write(std::FILE* file, const Word* words, std::size_t count) {
    if (std::fwrite(words, sizeof(Word), count, file) != count) fail("cannot write the record");
}

void rise(Model& top) {
    top.clk = 1;
    top.eval();
    top.clk = 0;
}

void run(Model& top, const Phase& phase, std::FILE* out) {
    Gaps source{{phase.seed * 2 + 1}, phase.in_chance, phase.in_mask};
    Gaps sink{{phase.seed * 2 + 2}, phase.out_chance, phase.out_mask};
    Gaps loader{{phase.seed * 2 + 3}, phase.in_chance, phase.in_mask};
    std::vector<Recorded> recorded(1 + TAPS);
    Word cycle = 0, loaded = 0, played = 0, ended = 0, idle = 0, cut = 0, flags = 0;
    bool waiting = false;
    Word offered = 0;
    Status status;

    if (phase.fresh) {
        top.rst = 1;
        top.events_valid() = 0;
        top.logits_ready() = 0;
        top.load_nothing();
        for (int n = 0; n < 2; ++n) {
            top.eval();
            rise(top);
        }
        top.rst = 0;
    }

    for (;; ++cycle) {
        const bool loading = loaded < phase.loads;
        const Word* const entry = phase.weights + loaded * (1 + LOAD_WORDS);
        const bool given = loading && loader.open();
        top.load_nothing();
        if (given) top.load(entry[0], entry + 1);
        const bool valid = !loading && source.open() && played < phase.tokens;
        top.events_valid() = valid;
        if (valid) top.events_payload() = phase.stimulus[played];
        top.logits_ready() = sink.open();
        top.eval();

        ++idle;
        if (given) {
            if (!top.load_ready(entry[0])) {
                status = REFUSED;
                break;
            }
            ++loaded;
            idle = 0;
            loader.may_begin();
        } else if (loading) {
            --loader.left;
        }
        flags |= top.flags();
        const bool logit = top.logits_valid();
        const Word token = top.logits_payload();
        if (waiting && (!logit || token != offered)) {
            status = BROKEN;
            break;
        }
        waiting = logit && !sink.open();
        offered = token;
        if (logit && sink.open()) {
            recorded[0].add(token, cycle);
            ended += ((token >> KIND_OFFSET) & ((1u << KIND_BITS) - 1)) == KIND_END;
            idle = 0;
        }
        for (int tap = 0; tap < TAPS; ++tap) {
            if (top.strobe(tap)) {
                recorded[1 + tap].add(top.token(tap), cycle);
                idle = 0;
            }
        }
        if (!source.open()) {
            --source.left;
        } else if (valid && top.events_ready()) {
            ++played;
            idle = 0;
            source.may_begin();
        }
        if (sink.open()) {
            sink.may_begin();
        } else {
            --sink.left;
        }
        rise(top);

        if (phase.reset_tokens != 0 && played >= phase.reset_tokens && cut++ >= phase.reset_delay) {
            status = RESET;
            break;
        }
        if (phase.reset_tokens == 0 && ended >= phase.ends && idle >= phase.settle) {
            status = FINISHED;
            break;
        }
        if (idle > phase.patience) {
            status = STUCK;
            break;
        }
        bool flooded = false;
        for (const Recorded& stream : recorded) flooded |= stream.count() > phase.flood;
        if (flooded) {
            status = FLOODED;
            break;
        }
    }
    top.eval();
    const Word head[] = {status, cycle + 1, played, ended, flags | top.flags()};
    write(out, head, 5);
    for (int tap = 0; tap < TAPS; ++tap) {
        Word counters[COUNTERS];
        for (int n = 0; n < COUNTERS; ++n) counters[n] = top.counter(tap, n);
        write(out, counters, COUNTERS);
    }
    for (const Recorded& stream : recorded) {
        const Word count = stream.count();
        write(out, &count, 1);
        write(out, stream.words.data(), stream.words.size());
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) fail("usage: driver SCRIPT RECORD [POINTS [COVERAGE]]");
    const std::vector<Word> script = read_file(argv[1]);
    std::FILE* out = std::fopen(argv[2], "wb");
    if (!out) fail("cannot write the record");
    VerilatedContext context;
    Model top{&context};
    const Word* at = script.data();
    const Word* const end = at + script.size();
    while (at < end) {
        if (end - at < 14) fail("the script is cut off");
        Phase phase;
        phase.seed = at[0];
        phase.in_chance = at[1];
        phase.in_mask = at[2];
        phase.out_chance = at[3];
        phase.out_mask = at[4];
        phase.reset_tokens = at[5];
        phase.reset_delay = at[6];
        phase.ends = at[7];
        phase.settle = at[8];
        phase.patience = at[9];
        phase.flood = at[10];
        phase.fresh = at[11];
        phase.loads = at[12];
        phase.tokens = at[13];
        phase.stimulus = at + 14;
        const Word words = phase.tokens + phase.loads * (1 + LOAD_WORDS);
        if (static_cast<Word>(end - phase.stimulus) < words) fail("the script is cut off");
        phase.weights = phase.stimulus + phase.tokens;
        at = phase.stimulus + words;
        run(top, phase, out);
    }
    top.final();
    if (argc > 3) {
        std::vector<Word> points;
        for (int n = 0; n < POINTS; ++n) points.push_back(top.point(n));
        std::FILE* file = std::fopen(argv[3], "wb");
        if (!file) fail("cannot write the cover points");
        write(file, points.data(), points.size());
        if (std::fclose(file) != 0) fail("cannot write the cover points");
    }
#if VM_COVERAGE
    if (argc > 4) context.coveragep()->write(argv[4]);
#endif
    if (std::fclose(out) != 0) fail("cannot write the record");
    return 0;
}
