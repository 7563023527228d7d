// sa3-probe: one request to a daemon through the plugin's core, told as JSON lines. Knows no host.
//
//   sa3-probe hello                                   what the daemon is
//   sa3-probe start                                   the same, after starting a daemon when none runs
//   sa3-probe generate JOB.json OUT.f32               JOB.json: {"prompt":..., "num_samples":..., ...}; planar float32
//   out sa3-probe inpaint JOB.json SOURCE.f32 OUT.f32     the source is uploaded first; JOB.json has the regions
//   sa3-probe cancel JOB.json                         submits, cancels at the first progress or audio
//   sa3-probe takes                                   the stored takes
//   sa3-probe fetch ADDRESS OUT.f32                   stored audio
//   sa3-probe watch SECONDS                           the connection's states as they change
//   sa3-probe timeline < CASES                        exact tempo arithmetic, one JSON case a line
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "sa3/daemon_client.h"
#include "sa3/timeline.h"

namespace {

using nlohmann::json;
using Clock = std::chrono::steady_clock;

constexpr double kPatienceSeconds = 120.0;

const Clock::time_point kStarted = Clock::now();

void tell(json line) {
    line["t"] = std::chrono::duration<double>(Clock::now() - kStarted).count();
    std::cout << line.dump() << std::endl;
}

/// Fills a struct's fields from a JSON object; what is absent keeps its default.
struct FromJson {
    const json& object;

    template <class Value>
    void optional(const char* name, Value& value) {
        if (const auto found = object.find(name); found != object.end() && !found->is_null()) read(*found, value);
    }
    template <class Value>
    void required(const char* name, Value& value) {
        optional(name, value);
    }

    template <class Value>
    static void read(const json& from, Value& to) {
        if constexpr (std::is_arithmetic_v<Value> || std::is_same_v<Value, std::string>) {
            from.get_to(to);
        } else {
            FromJson fields{from};
            Value::fields(to, fields);
        }
    }
    template <class Item>
    static void read(const json& from, std::optional<Item>& to) {
        read(from, to.emplace());
    }
    template <class Item>
    static void read(const json& from, std::vector<Item>& to) {
        for (const auto& item : from) read(item, to.emplace_back());
    }
};

sa3::Job read_job(const std::string& path) {
    std::ifstream file(path);
    sa3::Job job;
    FromJson::read(json::parse(file), job);
    return job;
}

std::vector<float> read_floats(const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    std::vector<float> samples(static_cast<std::size_t>(file.tellg()) / sizeof(float));
    file.seekg(0);
    file.read(reinterpret_cast<char*>(samples.data()), static_cast<std::streamsize>(samples.size() * sizeof(float)));
    return samples;
}

void write_floats(const std::string& path, const std::vector<float>& samples) {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(samples.data()),
               static_cast<std::streamsize>(samples.size() * sizeof(float)));
}

template <class Done>
bool wait_for(sa3::DaemonClient& client, const std::function<void(const sa3::Event&)>& handle, Done done,
              double seconds = kPatienceSeconds) {
    const auto deadline = Clock::now() + std::chrono::duration<double>(seconds);
    while (Clock::now() < deadline) {
        client.drain(handle);
        if (done()) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return false;
}

bool connect(sa3::DaemonClient& client) {
    const auto is_settled = [&client] {
        const auto state = client.status().state;
        return state != sa3::DaemonState::kSearching && state != sa3::DaemonState::kStarting;
    };
    wait_for(
        client, [](const sa3::Event&) {}, is_settled, 30.0);
    const auto status = client.status();
    if (!status.is_connected()) tell({{"event", "no daemon"}, {"reason", status.reason}});
    return status.is_connected();
}

json describe(const sa3::Take& take) {
    json changed = json::array();
    for (const auto& region : take.made.changed) changed.push_back({region.start_sample, region.end_sample});
    return {{"event", "take"},
            {"take_id", take.take_id},
            {"audio", take.audio},
            {"variation", take.made.variation},
            {"num_samples", take.made.num_samples},
            {"kept_sha256", take.made.kept_sha256},
            {"changed", changed}};
}

/// Run a job to its end and write its first variation. `cancel`: ask for its end as soon as it runs.
int run_job(sa3::DaemonClient& client, const sa3::Job& job, std::shared_ptr<const sa3::TakeAudio> source,
            const std::string& out, bool cancel) {
    const auto running = client.submit(job, std::move(source));
    bool cancel_asked = false;
    std::int64_t num_told = 0;
    const auto handle = [&](const sa3::Event& event) {
        if (!std::holds_alternative<sa3::JobChanged>(event)) return;
        const auto progress = running->progress();
        const auto num_available = running->variation(0).audio->num_available();
        if (num_told == 0 && num_available > 0) tell({{"event", "first audio"}, {"num_samples", num_available}});
        num_told = num_available;
        tell({{"event", "progress"}, {"stage", progress.stage}, {"step", progress.step}, {"available", num_available}});
        if (cancel && !cancel_asked && running->state() == sa3::JobState::kRunning) {
            cancel_asked = true;
            client.cancel(running);
        }
    };
    if (!wait_for(client, handle, [&] { return running->ended(); })) return 3;
    for (std::size_t i = 0; i < running->num_variations(); ++i)
        if (const auto take = running->variation(i).take) tell(describe(*take));
    if (running->state() == sa3::JobState::kCancelled) {
        tell({{"event", "cancelled"}});
        return cancel ? 0 : 4;
    }
    if (const auto error = running->error()) {
        tell({{"event", "failed"}, {"code", error->code}, {"message", error->message}, {"field", error->field}});
        return 5;
    }
    if (!out.empty()) write_floats(out, running->variation(0).audio->planar());
    tell({{"event", "finished"}, {"num_samples", running->finished()->num_samples}});
    return 0;
}

int hello(sa3::DaemonClient& client) {
    const auto hello = client.status().hello;
    json models = json::array();
    for (const auto& model : hello->models) models.push_back(model.name);
    tell({{"event", "hello"}, {"daemon_version", hello->daemon_version}, {"models", models}, {"verbs", hello->verbs}});
    return 0;
}

int takes(sa3::DaemonClient& client) {
    const auto request = client.ask(sa3::ListTakes{});
    bool is_answered = false;
    const auto handle = [&](const sa3::Event& event) {
        const auto* answer = std::get_if<sa3::Answered>(&event);
        if (!answer || answer->request != request) return;
        is_answered = true;
        if (const auto* list = std::get_if<sa3::ListTakesReply>(&answer->reply))
            for (const auto& take : list->takes)
                tell({{"event", "take"}, {"take_id", take.take_id}, {"audio", take.audio}, {"prompt", take.prompt}});
        else
            tell({{"event", "failed"}});
    };
    return wait_for(client, handle, [&] { return is_answered; }) ? 0 : 3;
}

int fetch(sa3::DaemonClient& client, const std::string& address, const std::string& out) {
    client.get_audio(address, 48000.0);
    int outcome = -1;
    const auto handle = [&](const sa3::Event& event) {
        const auto* fetched = std::get_if<sa3::AudioFetched>(&event);
        if (!fetched) return;
        if (!fetched->problem.empty()) {
            tell({{"event", "failed"}, {"message", fetched->problem}});
            outcome = 5;
        } else if (fetched->is_complete) {
            write_floats(out, fetched->audio->planar());
            tell({{"event", "fetched"}, {"num_samples", fetched->audio->num_samples()}});
            outcome = 0;
        }
    };
    return wait_for(client, handle, [&] { return outcome >= 0; }) ? outcome : 3;
}

int watch(sa3::DaemonClient& client, double seconds) {
    const auto handle = [](const sa3::Event& event) {
        if (const auto* changed = std::get_if<sa3::StatusChanged>(&event))
            tell({{"event", "state"},
                  {"state", static_cast<int>(changed->status.state)},
                  {"connected", changed->status.is_connected()},
                  {"reason", changed->status.reason}});
    };
    wait_for(
        client, handle, [] { return false; }, seconds);
    return 0;
}

/// One case a line: {"points": [[ppq, bpm, num, den]...], "ppq": x, "bar": b, "seconds": s, "rate": r}.
int timeline() {
    for (std::string line; std::getline(std::cin, line);) {
        const auto given = json::parse(line);
        std::vector<sa3::TempoPoint> points;
        for (const auto& point : given.at("points"))
            points.push_back({point.at(0), point.at(1), point.at(2), point.at(3)});
        const sa3::TempoMap map(points);
        const std::int64_t rate = given.at("rate");
        const auto ppq = sa3::Rational::exactly(given.at("ppq"));
        const auto start = map.ppq_of_bar(sa3::Rational::exactly(given.at("bar")));
        const auto back = map.ppq_at(sa3::Rational::exactly(given.at("seconds")));
        std::cout << json{map.sample_at(ppq, rate),    map.sample_at(start, rate),         map.sample_at(back, rate),
                          map.point_at(ppq).numerator, map.bar_at(ppq).floor().to_int64(), map.bar_at(ppq).to_double()}
                         .dump()
                  << "\n";
    }
    return 0;
}

int usage() {
    std::cerr << "usage: sa3-probe hello | start | generate JOB OUT | inpaint JOB SOURCE OUT | cancel JOB | takes | "
                 "fetch ADDRESS OUT | watch SECONDS | timeline\n";
    return 2;
}

int run(const std::vector<std::string>& words) {
    if (words.empty()) return usage();
    const auto& verb = words[0];
    if (verb == "timeline") return timeline();
    sa3::ClientOptions options;
    options.client_name = "sa3-probe";
    options.start_daemon_when_missing = verb == "start";
    sa3::DaemonClient client(options);
    if (verb == "watch" && words.size() == 2) return watch(client, std::stod(words[1]));
    if (!connect(client)) return 1;
    if ((verb == "hello" || verb == "start") && words.size() == 1) return hello(client);
    if (verb == "takes" && words.size() == 1) return takes(client);
    if (verb == "fetch" && words.size() == 3) return fetch(client, words[1], words[2]);
    if (verb == "generate" && words.size() == 3) return run_job(client, read_job(words[1]), nullptr, words[2], false);
    if (verb == "cancel" && words.size() == 2) return run_job(client, read_job(words[1]), nullptr, "", true);
    if (verb == "inpaint" && words.size() == 4) {
        const auto job = read_job(words[1]);
        const auto samples = read_floats(words[2]);
        const auto num_samples = static_cast<std::int64_t>(samples.size() / 2);
        auto source = sa3::TakeAudio::from_planar(samples.data(), num_samples, static_cast<double>(job.sample_rate));
        return run_job(client, sa3::inpaint(job, "", num_samples, job.regions), source, words[3], false);
    }
    return usage();
}

}  // namespace

int main(int count, char** words) {
    try {
        return run({words + 1, words + count});
    } catch (const std::exception& error) {
        std::cerr << "sa3-probe: " << error.what() << "\n";
        return 2;
    }
}
