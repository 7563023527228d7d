// Every message between a client and its daemon as a struct, and the kind it travels under. Knows no bytes and no
// sockets.
//
// docs/protocol.md is the authority on meaning. `fields` lists a struct's fields in wire order: required ones, then
// optional ones with their defaults.
#pragma once

#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "sa3/capabilities.h"
#include "sa3/job.h"
#include "sa3/status.h"
#include "sa3/take.h"

namespace sa3 {

/// For structs without fields.
#define SA3_NO_FIELDS                    \
    template <class Self, class Visitor> \
    static void fields(Self&, Visitor&) {}

constexpr std::int64_t kProtocolVersion = 1;

/// Second frame of every message.
/// `seq` counts a sender's requests, a reply repeats it; in events of a job it counts those from 0.
/// `credit` is read in `generate` only: audio chunks the client is ready to take.
struct Header {
    std::int64_t v = kProtocolVersion;
    std::string job;
    std::int64_t seq = 0;
    std::int64_t credit = 0;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("v", self.v);
        visit.optional("job", self.job);
        visit.optional("seq", self.seq);
        visit.optional("credit", self.credit);
    }
};

/// Ask what the daemon is and can do. `client` names the asking program, for logs.
struct Hello {
    std::string client;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.optional("client", self.client);
    }
};

/// Stop the job named in the header, wherever it is. Repeating it, or naming an unknown job, is harmless.
struct Cancel {
    SA3_NO_FIELDS
};

/// Allow `num_chunks` more audio chunks of the job named in the header.
struct Credit {
    std::int64_t num_chunks = 0;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("num_chunks", self.num_chunks);
    }
};

/// Store one piece of stereo audio of `num_samples` in all; the buffer is the piece, planar.
/// Pieces come in time order. The audio is stored when the last has come and its hash is `audio`.
struct PutAudio {
    std::string audio;
    std::int64_t num_samples = 0;
    std::int64_t start_sample = 0;
    std::int64_t chunk_num_samples = 0;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("audio", self.audio);
        visit.required("num_samples", self.num_samples);
        visit.required("start_sample", self.start_sample);
        visit.required("chunk_num_samples", self.chunk_num_samples);
    }
};

/// Ask whether audio is stored.
struct HasAudio {
    std::string audio;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("audio", self.audio);
    }
};

/// Ask for a part of stored audio.
struct GetAudio {
    std::string audio;
    std::int64_t start_sample = 0;
    std::int64_t num_samples = 0;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("audio", self.audio);
        visit.required("start_sample", self.start_sample);
        visit.required("num_samples", self.num_samples);
    }
};

/// Ask for stored takes, newest first. Empty texts, `starred` false and `before` "" narrow nothing.
struct ListTakes {
    std::string text;
    std::string tag;
    bool starred = false;
    std::int64_t limit = 100;
    std::string before;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.optional("text", self.text);
        visit.optional("tag", self.tag);
        visit.optional("starred", self.starred);
        visit.optional("limit", self.limit);
        visit.optional("before", self.before);
    }
};

/// Ask for one take and the job that makes it again.
struct GetTake {
    std::string take_id;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("take_id", self.take_id);
    }
};

/// Star or unstar a take (None: leave it), add and remove tags.
struct ChangeTake {
    std::string take_id;
    std::optional<bool> starred;
    std::vector<std::string> add_tags;
    std::vector<std::string> remove_tags;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("take_id", self.take_id);
        visit.optional("starred", self.starred);
        visit.optional("add_tags", self.add_tags);
        visit.optional("remove_tags", self.remove_tags);
    }
};

/// Forget a take, starred or not, and its audio unless another take needs it.
struct DeleteTake {
    std::string take_id;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("take_id", self.take_id);
    }
};

/// Delete the oldest unstarred takes until the store holds at most `budget_mb` (None: as configured).
struct CollectGarbage {
    std::optional<std::int64_t> budget_mb;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.optional("budget_mb", self.budget_mb);
    }
};

/// Make a model resident and keep it so for at least `keep_alive_seconds`.
struct LoadModel {
    std::string model;
    double keep_alive_seconds = 0.0;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("model", self.model);
        visit.optional("keep_alive_seconds", self.keep_alive_seconds);
    }
};

/// Free a model's memory now, or once the running job has ended.
struct UnloadModel {
    std::string model;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("model", self.model);
    }
};

/// Ask for the engine's state and all jobs.
struct Status {
    SA3_NO_FIELDS
};

/// End the daemon: every job is cancelled, every client told, the engine ended.
struct Shutdown {
    SA3_NO_FIELDS
};

/// The job is queued, `position` jobs run before it; the rest are the values it will run with.
/// `eta_seconds` is the expected time until it is finished, absent while nothing is known. `chained`: longer than
/// the model, made of several windows. `replayed`: not queued, its stored result follows. `prompt` has the model's prefix.
struct Accepted {
    std::int64_t position = 0;
    std::string model;
    std::int64_t steps = 0;
    double guidance_scale = 0.0;
    std::optional<double> eta_seconds;
    std::optional<double> apg_scale;
    std::string sampler;
    std::optional<double> headroom_seconds;
    bool chained = false;
    bool replayed = false;
    std::string prompt;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("position", self.position);
        visit.required("model", self.model);
        visit.required("steps", self.steps);
        visit.required("guidance_scale", self.guidance_scale);
        visit.optional("eta_seconds", self.eta_seconds);
        visit.optional("apg_scale", self.apg_scale);
        visit.optional("sampler", self.sampler);
        visit.optional("headroom_seconds", self.headroom_seconds);
        visit.optional("chained", self.chained);
        visit.optional("replayed", self.replayed);
        visit.optional("prompt", self.prompt);
    }
};

/// `step` of `num_steps` of a stage is done; docs/protocol.md names the stages.
struct Progress {
    std::string stage;
    std::int64_t step = 0;
    std::int64_t num_steps = 0;
    std::optional<double> eta_seconds;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("stage", self.stage);
        visit.required("step", self.step);
        visit.required("num_steps", self.num_steps);
        visit.optional("eta_seconds", self.eta_seconds);
    }
};

/// One chunk of a variation, in time order; its samples are the one buffer frame, planar float32.
struct Audio {
    std::int64_t start_sample = 0;
    std::int64_t num_samples = 0;
    std::int64_t num_channels = 0;
    std::int64_t variation = 0;
    bool draft = false;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("start_sample", self.start_sample);
        visit.required("num_samples", self.num_samples);
        visit.required("num_channels", self.num_channels);
        visit.optional("variation", self.variation);
        visit.optional("draft", self.draft);
    }
};

/// One variation is complete and stored under these names; both are empty and `problem` says why if it is not.
struct Take {
    std::string take_id;
    std::string audio;
    TakeMade made;
    std::string problem;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("take_id", self.take_id);
        visit.required("audio", self.audio);
        visit.required("made", self.made);
        visit.optional("problem", self.problem);
    }
};

/// The job is complete: the clip's length, the first variation's levels in dBFS, seconds spent per stage.
struct Finished {
    std::int64_t num_samples = 0;
    double peak_db = 0.0;
    double rms_db = 0.0;
    NamedSeconds timings_seconds;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("num_samples", self.num_samples);
        visit.required("peak_db", self.peak_db);
        visit.required("rms_db", self.rms_db);
        visit.optional("timings_seconds", self.timings_seconds);
    }
};

/// The job has ended without its audio.
struct Failed {
    std::string code;
    std::string message;
    std::string field;
    std::string value;
    std::string allowed;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("code", self.code);
        visit.required("message", self.message);
        visit.optional("field", self.field);
        visit.optional("value", self.value);
        visit.optional("allowed", self.allowed);
    }
};

/// The job was stopped; no further audio comes. An outcome, not an error.
struct Cancelled {
    SA3_NO_FIELDS
};

/// One message was refused and changed nothing; `seq` in the header is that message's, where readable.
struct Rejected {
    std::string code;
    std::string message;
    std::string field;
    std::string value;
    std::string allowed;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("code", self.code);
        visit.required("message", self.message);
        visit.optional("field", self.field);
        visit.optional("value", self.value);
        visit.optional("allowed", self.allowed);
    }
};

/// Answer to `cancel`: `live` tells whether the job had still to end. Its own last event comes apart.
struct CancelReply {
    bool live = false;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("live", self.live);
    }
};

/// Pieces up to `num_received_samples` are here; `complete` when the audio is stored.
struct PutAudioReply {
    std::string audio;
    std::int64_t num_received_samples = 0;
    bool complete = false;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("audio", self.audio);
        visit.required("num_received_samples", self.num_received_samples);
        visit.required("complete", self.complete);
    }
};

/// `num_samples` is 0 when it is not stored.
struct HasAudioReply {
    bool have = false;
    std::int64_t num_samples = 0;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("have", self.have);
        visit.required("num_samples", self.num_samples);
    }
};

/// A part of stored audio; its samples are the one buffer frame, planar float32.
struct GetAudioReply {
    std::string audio;
    std::int64_t start_sample = 0;
    std::int64_t num_samples = 0;
    std::int64_t total_num_samples = 0;
    std::int64_t num_channels = 0;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("audio", self.audio);
        visit.required("start_sample", self.start_sample);
        visit.required("num_samples", self.num_samples);
        visit.required("total_num_samples", self.total_num_samples);
        visit.required("num_channels", self.num_channels);
    }
};

/// Newest first.
struct ListTakesReply {
    std::vector<TakeInfo> takes;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("takes", self.takes);
    }
};

/// `job` is the recipe: submitted again under a new id it makes the take again.
struct GetTakeReply {
    TakeInfo take;
    Job job;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("take", self.take);
        visit.required("job", self.job);
    }
};

/// The take as it is now.
struct ChangeTakeReply {
    TakeInfo take;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("take", self.take);
    }
};

/// `deleted` is false when there was no such take.
struct DeleteTakeReply {
    bool deleted = false;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("deleted", self.deleted);
    }
};

/// What was deleted.
struct CollectGarbageReply {
    std::int64_t num_takes = 0;
    std::int64_t num_bytes = 0;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("num_takes", self.num_takes);
        visit.required("num_bytes", self.num_bytes);
    }
};

/// The model is resident, as are these.
struct LoadModelReply {
    std::vector<ResidentModel> models;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("models", self.models);
    }
};

/// These are still resident.
struct UnloadModelReply {
    std::vector<ResidentModel> models;

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.required("models", self.models);
    }
};

/// The daemon is ending; its connection file will be gone.
struct ShutdownReply {
    SA3_NO_FIELDS
};

/// Sent each second to clients with live jobs; so both sides notice when the other is gone.
struct Alive {
    SA3_NO_FIELDS
};

/// Any message between a client and its daemon.
using Message =
    std::variant<Hello, Job, Cancel, Credit, PutAudio, HasAudio, GetAudio, ListTakes, GetTake, ChangeTake, DeleteTake,
                 CollectGarbage, LoadModel, UnloadModel, Status, Shutdown, HelloReply, Accepted, Progress, Audio, Take,
                 Finished, Failed, Cancelled, Rejected, CancelReply, PutAudioReply, HasAudioReply, GetAudioReply,
                 ListTakesReply, GetTakeReply, ChangeTakeReply, DeleteTakeReply, CollectGarbageReply, LoadModelReply,
                 UnloadModelReply, StatusReply, ShutdownReply, Alive>;

/// The kinds, in the order of Message's alternatives.
constexpr const char* kKinds[] = {"hello",
                                  "generate",
                                  "cancel",
                                  "credit",
                                  "put_audio",
                                  "has_audio",
                                  "get_audio",
                                  "list_takes",
                                  "get_take",
                                  "change_take",
                                  "delete_take",
                                  "collect_garbage",
                                  "load_model",
                                  "unload_model",
                                  "status",
                                  "shutdown",
                                  "hello_reply",
                                  "accepted",
                                  "progress",
                                  "audio",
                                  "take",
                                  "finished",
                                  "failed",
                                  "cancelled",
                                  "rejected",
                                  "cancel_reply",
                                  "put_audio_reply",
                                  "has_audio_reply",
                                  "get_audio_reply",
                                  "list_takes_reply",
                                  "get_take_reply",
                                  "change_take_reply",
                                  "delete_take_reply",
                                  "collect_garbage_reply",
                                  "load_model_reply",
                                  "unload_model_reply",
                                  "status_reply",
                                  "shutdown_reply",
                                  "alive"};
static_assert(std::size(kKinds) == std::variant_size_v<Message>);

}  // namespace sa3
