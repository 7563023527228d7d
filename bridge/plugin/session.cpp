// The session's verbs and what it does as events come. Knows no window and no host API.
#include "session.h"

#include <algorithm>
#include <cmath>
#include <thread>

namespace sa3::plugin {

namespace {

constexpr double kEqualLoudnessLufs = -18.0;

ClientOptions client_options() {
    ClientOptions options;
    options.client_name = "sa3-daw plugin " SA3_VERSION;
    return options;
}

void place(TakeFacts& facts, const Plan& plan) {
    facts.start_ppq = plan.selection.start_ppq;
    facts.bpm = plan.bpm;
    facts.numerator = plan.numerator;
    facts.denominator = plan.denominator;
}

void note_made(TakeFacts& facts, const Take& take) {
    facts.take_id = take.take_id;
    facts.audio = take.audio;
    facts.loudness_lufs = take.made.loudness_lufs;
    facts.rms_db = take.made.rms_db;
    facts.peak_db = take.made.peak_db;
}

}  // namespace

Session::Session(TransportLatch& latch, TakePlayer& player, CaptureBuffer& capture)
    : latch_(latch), player_(player), capture_(capture), client_(client_options()) {
    recipe_.seed = random_seed();
}

void Session::service(bool match_loudness) {
    const Lock lock(mutex_);
    transport_ = latch_.read();
    if (transport_.has_position && !transport_.is_playing) anchor_ppq_ = transport_.ppq;
    client_.drain([this](const Event& event) { handle(event); });
    follow_job();
    capture_.service();
    take_capture();
    fetch_chosen();
    publish(match_loudness);
    player_.collect();
}

void Session::handle(const Event& event) {
    if (const auto* fetched = std::get_if<AudioFetched>(&event); fetched && fetched->request == fetch_) {
        auto* entry = book_.find(fetch_key_);
        if (entry && fetched->audio) entry->audio = fetched->audio;
        if (fetched->is_complete || !fetched->problem.empty()) fetch_ = 0;
        if (entry && !fetched->problem.empty() && client_.status().is_connected()) {
            entry->audio = nullptr;
            entry->problem = "The daemon has this take no more. Press Make again.";
            message_ = entry->problem;
        }
    }
    if (const auto* answered = std::get_if<Answered>(&event))
        if (const auto* refused = std::get_if<Rejected>(&answered->reply)) message_ = refused->message;
}

void Session::follow_job() {
    if (!job_) return;
    for (std::size_t i = 0; i < job_keys_.size(); ++i) {
        auto* entry = book_.find(job_keys_[i]);
        if (!entry) continue;
        const auto variation = job_->variation(i);
        entry->draft = variation.draft;
        if (variation.take) {
            note_made(entry->facts, *variation.take);
            entry->problem = variation.take->problem;
            entry->is_live = false;
        }
    }
    if (!job_->ended()) return;
    if (const auto error = job_->error()) message_ = error->message;
    if (job_->state() == JobState::kFinished) message_.clear();
    for (const auto key : job_keys_) {
        auto* entry = book_.find(key);
        if (!entry || !entry->is_live) continue;
        entry->is_live = false;
        const bool keeps_part = job_->state() == JobState::kFailed && entry->audio->num_available() > 0;
        if (keeps_part) {
            entry->problem = "Interrupted: only the beginning is here. Press Make again.";
        } else {
            if (book_.chosen_key() == key) book_.choose(chosen_before_job_);
            book_.remove(key);
        }
    }
    job_ = nullptr;
    job_keys_.clear();
}

void Session::take_capture() {
    if (has_taken_capture_ || capture_.state() != CaptureState::kComplete) return;
    has_taken_capture_ = true;
    const auto recorded = capture_.snapshot();
    if (recorded.num_samples == 0) {
        message_ = "Nothing came in while capturing.";
        return;
    }
    if (recorded.num_lost_samples > 0) message_ = "The capture has gaps: the computer was too busy.";
    TakeEntry entry;
    entry.audio = TakeAudio::from_planar(recorded.planar.data(), recorded.num_samples, recorded.sample_rate);
    entry.facts.label = "captured";
    entry.facts.start_ppq = recorded.has_position ? recorded.start_ppq : 0.0;
    entry.facts.bpm = recorded.bpm;
    entry.facts.numerator = recorded.numerator;
    entry.facts.denominator = recorded.denominator;
    entry.facts.num_samples = recorded.num_samples;
    entry.facts.sample_rate = std::llround(recorded.sample_rate);
    captured_ = std::move(entry);
}

void Session::fetch_chosen() {
    auto* chosen = book_.chosen();
    if (!chosen || chosen->audio || chosen->facts.audio.empty() || !chosen->problem.empty()) return;
    if (!client_.status().is_connected()) {
        fetch_ = 0;
        return;
    }
    if (fetch_ != 0 && fetch_key_ == chosen->key) return;
    fetch_key_ = chosen->key;
    fetch_ = client_.get_audio(chosen->facts.audio, static_cast<double>(chosen->facts.sample_rate));
}

void Session::publish(bool match_loudness) {
    const auto* chosen = book_.chosen();
    const auto playing = player_.take();
    if (!chosen || !chosen->audio) {
        if (playing) player_.set_take(nullptr);
        return;
    }
    PlayableTake take;
    take.audio = chosen->audio;
    take.draft = chosen->draft;
    take.start_ppq = chosen->facts.start_ppq;
    take.bpm = chosen->facts.bpm;
    take.loop = chosen->facts.job.loop;
    if (match_loudness && !chosen->is_live)
        take.gain = loudness_match_gain(chosen->facts.loudness_lufs, chosen->facts.rms_db, chosen->facts.peak_db,
                                        kEqualLoudnessLufs);
    const bool is_same = playing && playing->audio == take.audio && playing->draft == take.draft &&
                         playing->start_ppq == take.start_ppq && playing->bpm == take.bpm &&
                         playing->loop == take.loop && playing->gain == take.gain;
    if (!is_same) player_.set_take(std::make_shared<const PlayableTake>(take));
}

Plan Session::plan() {
    CapturedPlace place;
    if (captured_) {
        const auto& facts = captured_->facts;
        place = {facts.num_samples, facts.sample_rate, facts.start_ppq, facts.bpm, facts.numerator, facts.denominator};
    }
    const auto hello = client_.status().hello;
    const auto rate = job_rate(host_rate_, hello ? hello->limits.sample_rates
                                                 : std::vector<std::int64_t>{44100, 48000, 88200, 96000, 176400, 192000});
    return make_plan(recipe_, transport_, anchor_ppq_, rate, place);
}

SessionView Session::view() {
    const Lock lock(mutex_);
    SessionView view;
    view.daemon = client_.status();
    view.recipe = recipe_;
    view.plan = plan();
    view.takes = book_.entries();
    view.chosen_key = book_.chosen_key();
    if (const auto* entry = source()) view.shown = *entry;
    view.can_undo = book_.can_undo();
    view.can_redo = book_.can_redo();
    view.is_running = job_ != nullptr;
    if (job_) {
        view.running_label = job_label_;
        view.progress = job_->progress();
        view.eta_seconds = job_->eta_seconds();
    }
    view.message = message_.empty() ? describe_problems(transport_.problems) : message_;
    view.capture = capture_.state();
    view.captured_seconds = static_cast<double>(capture_.num_recorded()) / host_rate_;
    view.transport = transport_;
    view.play_head = player_.play_head();
    return view;
}

void Session::set_recipe(Recipe recipe) {
    const Lock lock(mutex_);
    recipe_ = cleaned(std::move(recipe));
}

Recipe Session::recipe() {
    const Lock lock(mutex_);
    return recipe_;
}

void Session::prepare(double host_rate) {
    const Lock lock(mutex_);
    if (host_rate != host_rate_) captured_.reset();
    host_rate_ = host_rate;
    player_.prepare(host_rate);
    capture_.prepare(host_rate);
    has_taken_capture_ = true;
}

Job Session::job_from_recipe() {
    if (!recipe_.seed_locked) recipe_.seed = random_seed();
    Job job;
    job.prompt = recipe_.prompt;
    job.negative_prompt = recipe_.negative_prompt;
    job.model = recipe_.model;
    job.seed = recipe_.seed;
    job.steps = recipe_.steps;
    job.num_variations = recipe_.num_variations;
    job.loop = recipe_.loop;
    job.headroom_seconds = recipe_.headroom_seconds;
    job.adapters = recipe_.adapters;
    job.priority = "audible";
    return job;
}

const TakeEntry* Session::source() const {
    if (recipe_.mode() == RangeMode::kCaptured && captured_) return &*captured_;
    return book_.chosen();
}

void Session::submit(Job job, TakeFacts facts, std::shared_ptr<const TakeAudio> source) {
    message_.clear();
    const auto daemon = client_.status();
    if (daemon.state == DaemonState::kNoDaemon || daemon.state == DaemonState::kFailed) client_.start_daemon();
    job_label_ = facts.label;
    facts.num_samples = job.num_samples;
    facts.sample_rate = job.sample_rate;
    job_ = client_.submit(std::move(job), std::move(source));
    facts.job = job_->job();
    job_keys_.clear();
    chosen_before_job_ = book_.chosen_key();
    for (std::size_t i = 0; i < job_->num_variations(); ++i) {
        TakeEntry entry;
        entry.facts = facts;
        entry.facts.variation = static_cast<std::int64_t>(i);
        entry.audio = job_->variation(i).audio;
        entry.is_live = true;
        job_keys_.push_back(book_.add(std::move(entry)));
    }
    if (!job_keys_.empty()) book_.choose(job_keys_.front());
}

void Session::generate() {
    const Lock lock(mutex_);
    transport_ = latch_.read();
    if (job_) return;
    const auto wanted = plan();
    if (!wanted.problem.empty()) {
        message_ = wanted.problem;
        return;
    }
    auto job = job_from_recipe();
    job.num_samples = wanted.selection.num_samples;
    job.start_sample = wanted.selection.start_sample;
    job.sample_rate = wanted.sample_rate;
    job.tempo_map = {{0.0, wanted.bpm, wanted.numerator, wanted.denominator}};
    TakeFacts facts;
    facts.label = "generate";
    place(facts, wanted);
    submit(std::move(job), std::move(facts), nullptr);
}

void Session::submit_edit(const char* label, const TakeEntry& source, Job job) {
    const auto& from = source.facts;
    job.sample_rate = from.sample_rate;
    job.tempo_map = {{0.0, from.bpm, from.numerator, from.denominator}};
    const auto map = TempoMap::constant(from.bpm, from.numerator, from.denominator);
    job.start_sample = std::max<std::int64_t>(0, map.sample_at(from.start_ppq, from.sample_rate));
    TakeFacts facts;
    facts.label = label;
    facts.start_ppq = from.start_ppq;
    facts.bpm = from.bpm;
    facts.numerator = from.numerator;
    facts.denominator = from.denominator;
    submit(std::move(job), std::move(facts), source.audio);
}

void Session::repaint(std::vector<Region> regions) {
    const Lock lock(mutex_);
    const auto* from = source();
    if (job_) return;
    if (!from || !from->audio || !from->audio->is_complete()) {
        message_ = "There is no whole take to repaint yet.";
    } else if (regions.empty()) {
        message_ = "Drag over the waveform what shall be made anew, then press Repaint.";
    } else {
        auto job = job_from_recipe();
        job.loop = from->facts.job.loop;
        submit_edit("repaint", *from, inpaint(std::move(job), "", from->audio->num_samples(), std::move(regions)));
    }
}

void Session::continue_take() {
    const Lock lock(mutex_);
    const auto* from = source();
    if (job_) return;
    if (!from || !from->audio || !from->audio->is_complete()) {
        message_ = "There is no whole take to continue yet.";
        return;
    }
    const auto& facts = from->facts;
    const double quarters = recipe_.continue_bars * 4.0 * static_cast<double>(facts.numerator) / static_cast<double>(facts.denominator);
    const double seconds = quarters * 60.0 / facts.bpm;
    const auto num_samples = std::llround(seconds * static_cast<double>(facts.sample_rate));
    auto job = job_from_recipe();
    job.loop = false;
    submit_edit("continue", *from, continue_after(std::move(job), "", from->audio->num_samples(), num_samples));
}

void Session::restyle() {
    const Lock lock(mutex_);
    const auto* from = source();
    if (job_) return;
    if (!from || !from->audio || !from->audio->is_complete()) {
        message_ = "There is no whole take to restyle yet.";
        return;
    }
    auto job = job_from_recipe();
    job.loop = from->facts.job.loop;
    submit_edit("restyle", *from, sa3::restyle(std::move(job), "", from->audio->num_samples(), recipe_.init_level));
}

void Session::make_again() {
    const Lock lock(mutex_);
    const auto* entry = book_.chosen();
    if (job_ || !entry || entry->facts.job.num_samples == 0) return;
    auto facts = entry->facts;
    auto job = facts.job;
    job.job_id.clear();
    facts.take_id.clear();
    facts.audio.clear();
    facts.variation = 0;
    submit(std::move(job), std::move(facts), nullptr);
}

void Session::cancel() {
    const Lock lock(mutex_);
    if (job_) client_.cancel(job_);
}

void Session::choose(std::int64_t key) {
    const Lock lock(mutex_);
    if (book_.find(key)) book_.choose(key);
}

void Session::undo() {
    const Lock lock(mutex_);
    book_.undo();
}

void Session::redo() {
    const Lock lock(mutex_);
    book_.redo();
}

void Session::toggle_a_b() {
    const Lock lock(mutex_);
    book_.toggle_a_b();
}

void Session::set_starred(std::int64_t key, bool starred) {
    const Lock lock(mutex_);
    auto* entry = book_.find(key);
    if (!entry) return;
    entry->facts.starred = starred;
    if (entry->facts.take_id.empty()) return;
    ChangeTake change;
    change.take_id = entry->facts.take_id;
    change.starred = starred;
    client_.ask(change);
}

void Session::remove(std::int64_t key) {
    const Lock lock(mutex_);
    const auto* entry = book_.find(key);
    if (entry && !entry->is_live) book_.remove(key);
}

void Session::set_auditioning(bool on, double from_sample) {
    const Lock lock(mutex_);
    on ? player_.start_audition(from_sample) : player_.stop_audition();
}

void Session::start_capture(bool with_transport) {
    const Lock lock(mutex_);
    captured_.reset();
    has_taken_capture_ = false;
    capture_.start(with_transport);
    capture_.service();
}

void Session::stop_capture() {
    const Lock lock(mutex_);
    capture_.stop();
}

SavedSession Session::save() {
    const Lock lock(mutex_);
    SavedSession saved;
    saved.recipe = recipe_;
    saved.transport = transport_;
    saved.anchor_ppq = anchor_ppq_;
    for (const auto& entry : book_.entries()) {
        if (entry.facts.audio.empty()) continue;
        if (entry.key == book_.chosen_key()) saved.chosen = static_cast<std::int64_t>(saved.takes.size());
        saved.takes.push_back(entry.facts);
    }
    return saved;
}

void Session::restore(const SavedSession& saved) {
    const Lock lock(mutex_);
    recipe_ = cleaned(saved.recipe);
    if (job_) client_.cancel(job_);
    job_ = nullptr;
    job_keys_.clear();
    fetch_ = 0;
    book_ = TakeBook();
    std::int64_t chosen = 0;
    for (std::size_t i = 0; i < saved.takes.size(); ++i) {
        TakeEntry entry;
        entry.facts = saved.takes[i];
        const auto key = book_.add(std::move(entry));
        if (static_cast<std::int64_t>(i) == saved.chosen) chosen = key;
    }
    if (chosen != 0) book_.choose(chosen);
    if (!transport_.has_block) {
        latch_.restore(saved.transport);
        transport_ = latch_.read();
    }
    anchor_ppq_ = saved.anchor_ppq;
    message_.clear();
}

void Session::set_message(std::string message) {
    const Lock lock(mutex_);
    message_ = std::move(message);
}

bool Session::is_awaiting() const {
    const auto* chosen = book_.chosen();
    if (job_) return job_->state() == JobState::kWaiting;
    return chosen && !chosen->audio && chosen->problem.empty();
}

bool Session::wait_until_playable(std::chrono::milliseconds timeout, bool match_loudness) {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (true) {
        service(match_loudness);
        {
            const Lock lock(mutex_);
            if (!is_awaiting()) return !book_.chosen() || book_.chosen()->audio;
        }
        if (std::chrono::steady_clock::now() > deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}

}  // namespace sa3::plugin
