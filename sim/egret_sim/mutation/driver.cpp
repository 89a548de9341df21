// Plays runs through a design whose faults a number switches on, one after the other, and records what comes out.
//
// It compares nothing: whoever started it reads the records and judges them (egret_sim/mutation/campaign.py).
//
// usage: PROGRAM STIMULUS RECORDS STREAMS ENDS SETTLE PATIENCE LIMIT CHANCE MASK SEED PRESET DIRTY MUTANT...
//   STIMULUS   tokens, 64 bits each
//   STREAMS    taps and logits, the logits last
//   ENDS       tokens of kind END that the logits are to have; then SETTLE silent cycles end a run
//   PATIENCE   cycles without a token after which a run is given up; LIMIT, cycles in all
//   PRESET     what every counter begins with, after the reset
//   DIRTY      cycles of the same tokens that are played before the reset; what comes out of them does not count
//   CHANCE     of a gap behind a token, in 1/256; MASK, of the length of one gap in four
// A record: mutant, status, cycles, counters (COUNTERS words of 32 bits in 64), and for each stream the number of its
// tokens and (token, cycle) pairs. All are numbers of 64 bits.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "Vegret.h"
#include "verilated.h"
#include "verilated_syms.h"

// A fault can close a loop of logic that never comes to rest. Verilator calls this then, with VL_USER_FATAL.
struct Unstable {};
void vl_fatal(const char*, int, const char*, const char*) { throw Unstable(); }

// The design says so where a number overflows its width. Before the reset it gets what no source would send.
struct Stopped {};
bool stops = false;
void vl_stop(const char*, int, const char*) {
    if (stops) throw Stopped();
}

namespace {

constexpr int MAX_STREAMS = 9;
constexpr int COUNTERS = 64;
constexpr uint64_t FINISHED = 0, STUCK = 1, BROKEN = 2, TOO_LONG = 3, UNSTABLE = 4, STOPPED = 5;

struct Settings {
    int streams;
    uint64_t ends, settle, patience, limit;
    uint32_t chance, mask, seed, preset, dirty, source_chance;
};

// Gaps as those of player.sv and sink.sv: three in four are short.
class Gaps {
public:
    Gaps(const Settings& settings, uint32_t number, uint32_t chance)
        : chance_(chance), mask_(settings.mask), state_((settings.seed * 2 + number) * 0x9E3779B1u | 1u) {}
    bool open() const { return left_ == 0; }
    void step(bool moved) {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 17;
        state_ ^= state_ << 5;
        if (left_) left_--;
        else if (moved && (state_ & 255) < chance_) left_ = 1 + ((state_ >> 8) & (state_ >> 30 == 0 ? mask_ : 3));
    }

private:
    uint32_t chance_, mask_, state_;
    uint64_t left_ = 0;
};

uint64_t token_of(const Vegret& top, int stream) {
    return static_cast<uint64_t>(top.tokens[2 * stream + 1]) << 32 | top.tokens[2 * stream];
}

// Without hours of simulation, a counter's upper bits move only if it begins just below them.
// A fault may have renamed the counters' registers, so all of the module's that are within reach are set, except
// the few bits that say what is to be counted next.
constexpr int NOT_A_COUNTER = 7;  // bits at most

void preset_counters(VerilatedContext& context, uint32_t preset) {
    int found = 0;
    for (auto& scope : *context.scopeNameMap()) {
        if (!std::strstr(scope.first, ".counters") || !scope.second->varsp()) continue;
        for (auto& entry : *scope.second->varsp()) {
            if (static_cast<int>(entry.second.entBits()) <= NOT_A_COUNTER) continue;
            uint8_t* const bytes = static_cast<uint8_t*>(entry.second.datap());
            for (uint32_t bit = 0; bit < static_cast<uint32_t>(entry.second.entBits()); bit++) {
                if (preset >> bit % 32 & 1) bytes[bit / 8] |= 1u << bit % 8;
            }
            found++;
        }
    }
    if (!found) {
        std::fprintf(stderr, "the design has no counters\n");
        std::exit(1);
    }
}

void run(const Settings& settings, const std::vector<uint64_t>& stimulus, uint64_t mutant, FILE* file) {
    VerilatedContext context;
    const auto top = std::make_unique<Vegret>(&context);
    std::vector<uint64_t> records[MAX_STREAMS];
    Gaps source(settings, 1, settings.source_chance), sink(settings, 2, settings.chance);
    const int logits = settings.streams - 1;
    uint64_t played = 0, ends = 0, idle = 0, cycle = 0, status = TOO_LONG, offered = 0;
    bool waiting = false;
    stops = false;

    try {
        top->mutant = mutant;
        top->rst = 1;
        top->clk = 0;
        top->eval();
        // A reset shows only in registers that have left their initial values.
        for (uint64_t early = 0, given = 0; early < settings.dirty; early++) {
            top->rst = 0;
            top->clk = 0;
            top->events_valid = 1;
            top->events_payload = stimulus[given % stimulus.size()];
            top->logits_ready = early & 1;
            top->eval();
            if (top->events_ready) given++;
            top->clk = 1;
            top->eval();
        }
        top->events_valid = 0;
        top->rst = 1;
        for (int edge = 0; edge < 4; edge++) {
            top->clk = 0;
            top->eval();
            top->clk = 1;
            top->eval();
        }
        top->rst = 0;
        stops = true;
        if (settings.preset) preset_counters(context, settings.preset);
        for (; cycle < settings.limit; cycle++) {
            top->clk = 0;
            top->events_valid = source.open() && played < stimulus.size();
            top->events_payload = played < stimulus.size() ? stimulus[played] : 0;
            top->logits_ready = sink.open();
            top->eval();
            bool moved = false;
            for (int stream = 0; stream < settings.streams; stream++) {
                if (!(top->strobes >> stream & 1)) continue;
                records[stream].push_back(token_of(*top, stream));
                records[stream].push_back(cycle);
                moved = true;
                if (stream == logits && top->logits_end) ends++;
            }
            const uint64_t token = token_of(*top, logits);
            if (waiting && (!top->logits_valid || token != offered)) {
                status = BROKEN;
                break;
            }
            waiting = top->logits_valid && !top->logits_ready;
            offered = token;
            const bool taken = top->events_valid && top->events_ready;
            if (taken) played++;
            source.step(taken);
            sink.step(true);
            idle = moved || taken ? 0 : idle + 1;
            top->clk = 1;
            top->eval();
            if (ends >= settings.ends && idle >= settings.settle) {
                status = FINISHED;
                break;
            }
            if (idle > settings.patience) {
                status = STUCK;
                break;
            }
        }
    } catch (const Unstable&) {
        status = UNSTABLE;
    } catch (const Stopped&) {
        status = STOPPED;
    }
    std::vector<uint64_t> words{mutant, status, cycle};
    for (int word = 0; word < COUNTERS; word++) words.push_back(top->counters[word]);
    for (int stream = 0; stream < settings.streams; stream++) {
        words.push_back(records[stream].size() / 2);
        words.insert(words.end(), records[stream].begin(), records[stream].end());
    }
    if (std::fwrite(words.data(), sizeof(uint64_t), words.size(), file) != words.size() || std::fflush(file)) {
        std::fprintf(stderr, "cannot write the records\n");
        std::exit(1);
    }
}

uint64_t number(const char* word) { return std::strtoull(word, nullptr, 10); }

}  // namespace

int main(int count, char** words) {
    if (count < 15) {
        std::fprintf(stderr, "too few arguments\n");
        return 2;
    }
    const Settings settings{static_cast<int>(number(words[3])), number(words[4]), number(words[5]),
                            number(words[6]), number(words[7]), static_cast<uint32_t>(number(words[8])),
                            static_cast<uint32_t>(number(words[9])), static_cast<uint32_t>(number(words[10])),
                            static_cast<uint32_t>(number(words[11])),
                            static_cast<uint32_t>(number(words[12])), static_cast<uint32_t>(number(words[13]))};
    std::vector<uint64_t> stimulus;
    if (FILE* file = std::fopen(words[1], "rb")) {
        for (uint64_t word; std::fread(&word, sizeof word, 1, file) == 1;) stimulus.push_back(word);
        std::fclose(file);
    } else {
        std::fprintf(stderr, "cannot read %s\n", words[1]);
        return 1;
    }
    FILE* const file = std::fopen(words[2], "wb");
    if (!file) {
        std::fprintf(stderr, "cannot write %s\n", words[2]);
        return 1;
    }
    for (int word = 14; word < count; word++) run(settings, stimulus, number(words[word]), file);
    std::fclose(file);
    return 0;
}
