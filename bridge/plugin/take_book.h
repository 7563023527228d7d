// The takes of one plugin instance: their list, which one is chosen, undo and redo. Knows no daemon and no window.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sa3/job.h"
#include "sa3/take_audio.h"

namespace sa3::plugin {

/// What of a take goes into the state: enough to find it, to place it and to make it again.
struct TakeFacts {
    std::string take_id;
    std::string audio;  // content address; empty until complete
    std::string label;  // "generate", "repaint" ...
    Job job;            // as sent
    std::int64_t variation = 0;
    double start_ppq = 0.0;
    double bpm = 120.0;
    std::int64_t numerator = 4;
    std::int64_t denominator = 4;
    std::int64_t num_samples = 0;
    std::int64_t sample_rate = 48000;
    std::optional<double> loudness_lufs;
    double rms_db = -24.0;
    double peak_db = -6.0;
    bool starred = false;

    /// In the making when it was last heard of: the daemon may know its job.
    bool is_unfinished() const { return audio.empty() && !job.job_id.empty(); }

    template <class Self, class Visitor>
    static void fields(Self& self, Visitor& visit) {
        visit.optional("take_id", self.take_id);
        visit.optional("audio", self.audio);
        visit.optional("label", self.label);
        visit.optional("job", self.job);
        visit.optional("variation", self.variation);
        visit.optional("start_ppq", self.start_ppq);
        visit.optional("bpm", self.bpm);
        visit.optional("numerator", self.numerator);
        visit.optional("denominator", self.denominator);
        visit.optional("num_samples", self.num_samples);
        visit.optional("sample_rate", self.sample_rate);
        visit.optional("loudness_lufs", self.loudness_lufs);
        visit.optional("rms_db", self.rms_db);
        visit.optional("peak_db", self.peak_db);
        visit.optional("starred", self.starred);
    }
};

struct TakeEntry {
    std::int64_t key = 0;
    TakeFacts facts;
    std::shared_ptr<const TakeAudio> audio;  // null: to be fetched
    std::shared_ptr<const TakeAudio> draft;
    bool is_live = false;     // still being made
    bool is_capture = false;  // the track as it was captured: to be edited, not to be played
    bool is_sought = false;   // was being made when the state was saved; nobody has asked the daemon yet
    std::string problem;      // why it cannot be played, or not wholly
};

class TakeBook {
public:
    static constexpr std::size_t kMaxTakes = 64;

    /// Add at the end; beyond kMaxTakes the oldest goes that is neither starred, chosen nor live. Returns the key.
    std::int64_t add(TakeEntry entry);
    void remove(std::int64_t key);
    TakeEntry* find(std::int64_t key);
    const TakeEntry* find(std::int64_t key) const { return const_cast<TakeBook*>(this)->find(key); }
    std::vector<TakeEntry>& entries() { return entries_; }
    const std::vector<TakeEntry>& entries() const { return entries_; }

    /// Choose a take (0: none); undo() goes back to the one before.
    void choose(std::int64_t key);
    std::int64_t chosen_key() const { return history_.empty() ? 0 : history_[position_]; }
    TakeEntry* chosen() { return find(chosen_key()); }
    const TakeEntry* chosen() const { return find(chosen_key()); }
    /// The captured track, null before there is one.
    const TakeEntry* capture() const;
    bool can_undo() const { return !history_.empty() && position_ > 0; }
    bool can_redo() const { return position_ + 1 < history_.size(); }
    void undo();
    void redo();
    /// Swap between the chosen take and the one chosen before it.
    void toggle_a_b();
    const TakeEntry* a_b_partner() const { return find(a_b_partner_); }

private:
    std::vector<TakeEntry> entries_;
    std::vector<std::int64_t> history_;
    std::size_t position_ = 0;
    std::int64_t a_b_partner_ = 0;
    std::int64_t next_key_ = 1;
};

}  // namespace sa3::plugin
