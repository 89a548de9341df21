// Drives the harness around an accelerator from C++: the native twin of benches/whole.py.
//
// It fills the player, empties the recorders into files, and watches for a standstill. It compares nothing: whoever
// started it reads the files and judges them by the rules that also judge the bench in Python. The harness, its
// random gaps and the layout of the files are the same, so a run can be repeated in cocotb, cycle for cycle.
//
// usage: PROGRAM name=value ...     (all of `Settings`, see below; `taps` has the names with commas between them)
#include <algorithm>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <sys/stat.h>
#include <vector>

#include "Vegret.h"
#include "verilated.h"
#include "verilated_sym_props.h"

namespace {

// The first looks at a run are this many cycles apart, because a short run ends soon.
constexpr uint64_t FIRST_POLL_CYCLES = 500;
// Wall-clock time between two looks at the folder, and between two reports.
constexpr double REPORT_SECONDS = 0.1;

class Settings {
public:
    Settings(int count, char** words) {
        for (int i = 1; i < count; i++) {
            const std::string word = words[i];
            const size_t sign = word.find('=');
            if (sign == std::string::npos) throw std::runtime_error("an argument must be name=value, not " + word);
            values_[word.substr(0, sign)] = word.substr(sign + 1);
        }
    }
    const std::string& text(const std::string& name) const {
        const auto found = values_.find(name);
        if (found == values_.end()) throw std::runtime_error("the argument " + name + "=... is missing");
        return found->second;
    }
    uint64_t number(const std::string& name) const { return std::stoull(text(name)); }

private:
    std::map<std::string, std::string> values_;
};

// A signal of the harness, found by its name; what it holds is `count` numbers of type T.
template <typename T>
class Signal {
public:
    Signal(const VerilatedContext& context, const std::string& unit, const char* name) {
        const std::string scope_name = unit.empty() ? "TOP.egret_bench" : "TOP.egret_bench." + unit;
        const VerilatedScope* const scope = context.scopeFind(scope_name.c_str());
        VerilatedVar* const variable = scope ? scope->varFind(name) : nullptr;
        if (!variable) throw std::runtime_error("the harness has no signal " + scope_name + "." + name);
        data_ = static_cast<T*>(variable->datap());
        count_ = variable->totalSize() / sizeof(T);
        if (!count_) throw std::runtime_error("signal " + scope_name + "." + name + " is too narrow");
    }
    T& value() const { return *data_; }
    T* data() const { return data_; }
    size_t count() const { return count_; }

private:
    T* data_;
    size_t count_;
};

// Keeps the player's ring filled.
class Feed {
public:
    Feed(const VerilatedContext& context, const std::string& path)
        : memory_(context, "player", "memory"), filled_(context, "player", "filled"),
          played_(context, "player", "played"), valid_(context, "player", "valid"),
          ready_(context, "player", "ready") {
        std::ifstream file(path, std::ios::binary | std::ios::ate);
        if (!file) throw std::runtime_error("cannot read " + path);
        words_.resize(static_cast<size_t>(file.tellg()) / sizeof(uint64_t));
        file.seekg(0);
        file.read(reinterpret_cast<char*>(words_.data()), static_cast<std::streamsize>(words_.size() * sizeof(uint64_t)));
        if (!file) throw std::runtime_error("cannot read " + path);
    }
    void refill() {
        const size_t ring = memory_.count();
        const uint64_t end = std::min<uint64_t>(words_.size(), played_.value() + ring);
        uint64_t filled = filled_.value();
        for (; filled < end; filled++) memory_.data()[filled % ring] = words_[filled];
        filled_.value() = filled;
    }
    uint64_t played() const { return played_.value(); }
    size_t tokens() const { return words_.size(); }
    std::string handshake() const {
        return "valid " + std::to_string(valid_.value()) + ", ready " + std::to_string(ready_.value());
    }

private:
    Signal<uint64_t> memory_, filled_, played_;
    Signal<uint8_t> valid_, ready_;
    std::vector<uint64_t> words_;
};

// Empties the ring of a recorder into a file of (token, cycle) pairs of 64-bit words.
class Record {
public:
    Record(const VerilatedContext& context, const std::string& name, const std::string& folder)
        : memory_(context, name + "_recorder", "memory"), count_(context, name + "_recorder", "count"),
          ends_(context, name + "_recorder", "ends"),
          file_(std::fopen((folder + "/" + name + ".bin").c_str(), "wb"), &std::fclose) {
        if (!file_) throw std::runtime_error("cannot write " + folder + "/" + name + ".bin");
    }
    void collect() {
        const size_t ring = memory_.count() / 2;
        const uint64_t count = count_.value();
        if (count - taken_ > ring) throw std::runtime_error("a recorder wrapped before it was read");
        while (taken_ < count) {
            const size_t begin = taken_ % ring;
            const size_t size = std::min<uint64_t>(count - taken_, ring - begin);
            if (std::fwrite(memory_.data() + 2 * begin, 16, size, file_.get()) != size) {
                throw std::runtime_error("cannot write what was recorded");
            }
            taken_ += size;
        }
    }
    void flush() {
        if (std::fflush(file_.get())) throw std::runtime_error("cannot write what was recorded");
    }
    uint64_t ends() const { return ends_.value(); }

private:
    Signal<uint64_t> memory_, count_, ends_;
    std::unique_ptr<FILE, int (*)(FILE*)> file_;
    uint64_t taken_ = 0;
};

double seconds_of(clockid_t clock) {
    timespec now;
    clock_gettime(clock, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

bool exists(const std::string& path) {
    struct stat entry;
    return stat(path.c_str(), &entry) == 0;
}

// Write a whole file or none.
void replace(const std::string& path, const std::string& text) {
    const std::string partial = path + ".part";
    std::ofstream file(partial);
    file << text;
    file.close();
    if (!file || std::rename(partial.c_str(), path.c_str())) throw std::runtime_error("cannot write " + path);
}

std::vector<std::string> names_in(const std::string& text) {
    std::vector<std::string> names;
    std::stringstream stream(text);
    for (std::string name; std::getline(stream, name, ',');) names.push_back(name);
    return names;
}

void run(const Settings& settings) {
    const std::string folder = settings.text("folder");
    const uint64_t wanted = settings.number("sequences");
    const uint64_t settle = settings.number("settle");
    const uint64_t patience = settings.number("patience");
    const uint64_t poll = settings.number("poll");

    VerilatedContext context;
    Vegret model{&context};
    model.clk = 0;
    model.eval();  // Sets what is initialised; what the harness is told comes after it, and before the first edge.

    Feed feed(context, folder + "/stimulus.bin");
    std::vector<std::unique_ptr<Record>> records;
    records.push_back(std::make_unique<Record>(context, "logits", folder));
    for (const std::string& name : names_in(settings.text("taps"))) {
        records.push_back(std::make_unique<Record>(context, name, folder));
    }
    const Record& logits = *records.front();
    for (const char* unit : {"player", "sink"}) {
        Signal<uint32_t>(context, unit, "seed").value() = settings.number(std::string(unit) + "_seed");
        Signal<uint32_t>(context, unit, "gap_chance").value() = settings.number("chance");
        Signal<uint32_t>(context, unit, "gap_mask").value() = settings.number("mask");
    }
    const Signal<uint64_t> cycle(context, "", "cycle"), idle(context, "", "idle");
    const Signal<uint8_t> broken(context, "sink", "broken");
    const Signal<uint64_t> broken_cycle(context, "sink", "broken_cycle");
    const Signal<uint8_t> sink_valid(context, "sink", "valid"), sink_ready(context, "sink", "ready");
    feed.refill();

    const double started = seconds_of(CLOCK_MONOTONIC), cpu_started = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    double reported = started;
    bool finished = false;
    const auto report = [&](const std::string& verdict) {
        for (const auto& record : records) record->flush();
        std::ostringstream text;
        text << "{\"cycle\": " << cycle.value() << ", \"sequences\": " << logits.ends()
             << ", \"played\": " << feed.played() << ", \"tokens\": " << feed.tokens()
             << ", \"idle\": " << idle.value() << ", \"seconds\": " << seconds_of(CLOCK_MONOTONIC) - started
             << ", \"cpu_seconds\": " << seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu_started
             << ", \"finished\": " << (finished ? "true" : "false") << verdict << "}\n";
        replace(folder + "/status.json", text.str());
    };
    for (std::string verdict;;) {
        const uint64_t cycles = cycle.value() < poll ? FIRST_POLL_CYCLES : poll;
        for (uint64_t i = 0; i < cycles; i++) {
            model.clk = 1;
            model.eval();
            model.clk = 0;
            model.eval();
        }
        feed.refill();
        for (const auto& record : records) record->collect();
        const uint64_t silent = idle.value(), ends = logits.ends();
        // After the last END a while of silence shows that nothing more comes.
        finished = ends >= wanted && silent >= settle;
        if (broken.value()) {
            finished = false;
            verdict = ", \"broken\": \"logits changed or vanished before they were taken (cycle "
                      + std::to_string(broken_cycle.value()) + ")\"";
        } else if (!finished && silent > patience) {
            verdict = ", \"stuck\": \"no token moved in " + std::to_string(silent) + " cycles, after "
                      + std::to_string(feed.played()) + " of " + std::to_string(feed.tokens())
                      + " input tokens (events: " + feed.handshake() + ") and " + std::to_string(ends) + " of "
                      + std::to_string(wanted) + " sequences (logits: valid " + std::to_string(sink_valid.value())
                      + ", ready " + std::to_string(sink_ready.value()) + ")\"";
        }
        bool last = finished || !verdict.empty();
        const double now = seconds_of(CLOCK_MONOTONIC);
        if (!last && now - reported < REPORT_SECONDS) continue;
        reported = now;
        last = last || exists(folder + "/stop");
        report(verdict);
        if (last) break;
    }
    model.final();
}

}  // namespace

int main(int count, char** words) {
    try {
        run(Settings(count, words));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
