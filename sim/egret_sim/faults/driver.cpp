// Runs an accelerator again and again, each time from power-up, and flips one bit in each run.
//
// usage: PROGRAM STIMULUS JOBS RESULTS SETTLE PATIENCE
//
// STIMULUS: 64-bit words: sets; for each set its tokens and its number of ENDs, then the tokens of all sets.
// JOBS: lines "set cycle scope variable word bit"; cycle -1 = no flip. The first line of each set must be such a run:
// what it sends is what the others are compared with.
// RESULTS: a line for each job, see `report`.
//
// Gaps in the input and pauses of the sink come from the cycle's number alone, so that a run without a flip is always
// the same and queues fill up and run dry.
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "Vaccelerator.h"
#include "ports.h"
#include "verilated.h"
#include "verilated_syms.h"

namespace {

constexpr int RESET_CYCLES = 4;
constexpr uint64_t KIND_END = 2;

struct Set {
    std::vector<uint64_t> tokens;
    uint64_t ends = 0;
    std::vector<std::vector<uint64_t>> sent;  // by port, of the run without a flip
    bool known = false;
};

struct Job {
    uint64_t set = 0;
    int64_t cycle = -1;
    std::string scope, variable;
    uint64_t word = 0, bit = 0;
};

struct Run {
    std::vector<std::vector<uint64_t>> sent;  // the last port is the logits
    uint64_t cycles = 0, ends = 0, flags = 0;
    int64_t flagged = -1, changed = -1;  // cycles
    bool hung = false, flooded = false;
};

// The same number for the same cycle: a mixer of bits (splitmix64, Vigna).
uint64_t mixed(uint64_t x) {
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

void flip(const VerilatedContext& context, const Job& job) {
    const VerilatedScope* const scope = context.scopeFind(job.scope.c_str());
    if (!scope) throw std::runtime_error("no scope " + job.scope);
    const VerilatedVar* const variable = scope->varFind(job.variable.c_str());
    if (!variable) throw std::runtime_error("no variable " + job.variable + " in " + job.scope);
    if (job.word * variable->entSize() + job.bit / 8 >= variable->totalSize())
        throw std::runtime_error("no such bit in " + job.variable + " of " + job.scope);
    uint8_t* const data = static_cast<uint8_t*>(variable->datap()) + job.word * variable->entSize();
    data[job.bit / 8] ^= 1u << job.bit % 8;
}

Run run(const Job& job, const Set& set, uint64_t settle, uint64_t patience) {
    const auto context = std::make_unique<VerilatedContext>();
    const auto top = std::make_unique<Vaccelerator>(context.get(), "TOP");
    Run result;
    result.sent.resize(PORTS);
    uint64_t played = 0, idle = 0;
    bool offered = false;
    top->clk = 0;
    top->rst = 1;
    set_events(*top, 0, 0);
    set_ready(*top, 0);
    for (int cycle = 0; cycle < RESET_CYCLES; cycle++) {
        top->clk = 1;
        top->eval();
        top->clk = 0;
        top->eval();
    }
    top->rst = 0;
    for (uint64_t cycle = 0;; cycle++) {
        const uint64_t random = mixed(cycle >> 4), fine = mixed(~cycle);
        // Whiles of input without a gap, of single gaps, and of nothing; the sink is slow now and then.
        if (!offered) offered = played < set.tokens.size() && ((random & 3) != 0 || (fine & 7) == 0);
        set_events(*top, offered ? set.tokens[played] : 0, offered);
        const bool ready = (random >> 8 & 3) != 0 || (fine >> 8 & 7) == 0;
        set_ready(*top, ready);
        top->eval();
        if (static_cast<int64_t>(cycle) == job.cycle) {
            flip(*context, job);
            top->eval();
        }
        bool moved = false;
        for (int port = 0; port < PORTS; port++) {
            uint64_t token = 0;
            if (!sent(*top, port, token)) continue;
            if (port == PORTS - 1 && !ready) continue;
            moved = true;
            auto& all = result.sent[port];
            if (set.known && result.changed < 0
                && (all.size() >= set.sent[port].size() || set.sent[port][all.size()] != token))
                result.changed = static_cast<int64_t>(cycle);
            all.push_back(token);
            if (port == PORTS - 1 && (token >> KIND_OFFSET & 3) == KIND_END) result.ends++;
            if (set.known && all.size() > 2 * set.sent[port].size() + 1000) result.flooded = true;
        }
        if (offered && events_ready(*top)) {
            offered = false;
            played++;
            moved = true;
        }
        result.flags = flags(*top);
        if (result.flags && result.flagged < 0) result.flagged = static_cast<int64_t>(cycle);
        top->clk = 1;
        top->eval();
        top->clk = 0;
        idle = moved ? 0 : idle + 1;
        result.cycles = cycle + 1;
        if (result.flooded) break;
        if (result.ends >= set.ends && played == set.tokens.size() && idle >= settle) break;
        if (idle > patience) {
            result.hung = true;
            break;
        }
    }
    top->final();
    return result;
}

// "set cycles ends hung flags flagged changed", then for each port 1 if it sent something else, then the logits' tokens
// if they did.
void report(std::ostream& out, const Job& job, const Run& run, const Set& set) {
    out << job.set << ' ' << run.cycles << ' ' << run.ends << ' ' << (run.hung || run.flooded) << ' ' << run.flags << ' '
        << run.flagged << ' ' << run.changed;
    for (int port = 0; port < PORTS; port++) out << ' ' << (run.sent[port] != set.sent[port]);
    const auto& logits = run.sent[PORTS - 1];
    if (job.cycle < 0 || logits != set.sent[PORTS - 1])
        for (const uint64_t token : logits) out << ' ' << token;
    out << std::endl;
}

std::vector<Set> read_sets(const char* path) {
    std::ifstream file(path, std::ios::binary);
    auto word = [&file] {
        uint64_t value = 0;
        if (!file.read(reinterpret_cast<char*>(&value), sizeof value)) throw std::runtime_error("stimulus too short");
        return value;
    };
    std::vector<Set> sets(word());
    for (Set& set : sets) {
        set.tokens.resize(word());
        set.ends = word();
    }
    for (Set& set : sets)
        for (uint64_t& token : set.tokens) token = word();
    return sets;
}

}  // namespace

int main(int count, char** words) try {
    if (count != 6) throw std::runtime_error("five arguments are needed");
    std::vector<Set> sets = read_sets(words[1]);
    std::ifstream jobs(words[2]);
    std::ofstream results(words[3]);
    const uint64_t settle = std::stoull(words[4]), patience = std::stoull(words[5]);
    std::string line;
    while (std::getline(jobs, line)) {
        std::istringstream parts(line);
        Job job;
        parts >> job.set >> job.cycle;
        if (job.cycle >= 0) parts >> job.scope >> job.variable >> job.word >> job.bit;
        if (!parts) throw std::runtime_error("not a job: " + line);
        Set& set = sets.at(job.set);
        if (!set.known && job.cycle >= 0) throw std::runtime_error("a set's first run must be without a flip");
        const Run done = run(job, set, settle, patience);
        if (!set.known) {
            set.sent = done.sent;
            set.known = true;
        }
        report(results, job, done, set);
    }
    return results.good() ? 0 : 1;
} catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    return 1;
}
