// The session's verbs and what it does as events come. Knows no window and no host API.
#include "session.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <thread>
#include <utility>

namespace sa3::plugin {

namespace {

constexpr double kEqualLoudnessLufs = -18.0;

ClientOptions client_options() {
    ClientOptions options;
    options.client_name = "sa3-daw plugin " SA3_VERSION;
    return options;
}

/// The tempo in force at the take's start, then every change inside it.
void place(TakeFacts& facts, double start_ppq, const std::vector<TempoPoint>& tempo_map) {
    facts.start_ppq = start_ppq;
    const auto at_start = TempoMap(tempo_map).point_at(Rational::exactly(start_ppq));
    facts.bpm = at_start.bpm;
    facts.numerator = at_start.numerator;
    facts.denominator = at_start.denominator;
}

/// The tempo steps of a take over which the tempo changes; else none.
std::vector<TempoStep> tempo_steps(const TakeFacts& facts) {
    std::vector<TempoStep> steps;
    TempoStep last{facts.start_ppq, facts.bpm, 0.0};
    for (const auto& point : facts.job.tempo_map) {
        if (point.position_ppq <= facts.start_ppq) continue;
        if (steps.empty()) steps.push_back(last);
        last.seconds += (point.position_ppq - last.ppq) * 60.0 / last.bpm;
        last.ppq = point.position_ppq;
        last.bpm = point.bpm;
        steps.push_back(last);
    }
    return steps;
}

/// The level a take comes to when it is raised or lowered towards the common one as far as it may be.
double reached_lufs(const TakeFacts& facts) {
    const double level = facts.loudness_lufs.value_or(facts.rms_db);
    const auto gain = loudness_match_gain(facts.loudness_lufs, facts.rms_db, facts.peak_db, kEqualLoudnessLufs);
    return std::isfinite(level) ? level + 20.0 * std::log10(gain) : kEqualLoudnessLufs;
}

}  // namespace

Session::Session(TransportLatch& latch, TempoTrail& trail, TakePlayer& player, CaptureBuffer& capture)
    : latch_(latch), trail_(trail), player_(player), capture_(capture), client_(client_options()), job_(client_, book_) {
    recipe_.seed = random_seed();
}

void Session::service(bool match_loudness) {
    const Lock lock(mutex_);
    follow_transport();
    client_.drain([this](const Event& event) { handle(event); });
    follow_job();
    capture_.service();
    take_capture();
    fetch_chosen();
    publish(match_loudness);
    player_.collect();
}

void Session::follow_transport() {
    transport_ = latch_.read();
    trail_.teach(tempo_memory_);
    if (!transport_.has_position || transport_.is_playing) return;
    anchor_ppq_ = transport_.ppq;
    const auto known = tempo_memory_.bpm_at(transport_.ppq);
    if (known && std::abs(*known - transport_.bpm) > 1e-6) tempo_memory_.forget();  // the song was changed
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
    const auto* answered = std::get_if<Answered>(&event);
    if (!answered || job_.handle(*answered)) return;
    if (const auto* refused = std::get_if<Rejected>(&answered->reply)) message_ = refused->message;
}

void Session::follow_job() {
    if (auto told = job_.follow()) message_ = std::move(*told);
    job_.seek();
}

void Session::take_capture() {
    if (has_taken_capture_ || capture_.state() != CaptureState::kComplete) return;
    has_taken_capture_ = true;
    const auto recorded = capture_.snapshot();
    capture_.release();
    if (recorded.num_samples == 0) {
        message_ = "Nothing came in while capturing.";
        return;
    }
    if (recorded.num_lost_samples > 0) message_ = "The capture has gaps: the computer was too busy.";
    TakeEntry entry;
    entry.is_capture = true;
    entry.audio = recorded.audio;
    entry.facts.label = "captured";
    entry.facts.start_ppq = recorded.has_position ? recorded.start_ppq : 0.0;
    entry.facts.bpm = recorded.bpm;
    entry.facts.numerator = recorded.numerator;
    entry.facts.denominator = recorded.denominator;
    entry.facts.num_samples = recorded.num_samples;
    entry.facts.sample_rate = std::llround(recorded.sample_rate);
    if (const auto* before = book_.capture()) book_.remove(before->key);
    book_.choose(book_.add(std::move(entry)));
    recipe_.range_mode = static_cast<std::int64_t>(RangeMode::kCaptured);
    ++recipe_version_;
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
    if (!chosen || !chosen->audio || (chosen->is_capture && !player_.is_auditioning())) {
        if (playing) player_.set_take(nullptr);
        return;
    }
    PlayableTake take;
    take.audio = chosen->audio;
    take.draft = chosen->draft;
    take.start_ppq = chosen->facts.start_ppq;
    take.bpm = chosen->facts.bpm;
    take.tempo = tempo_steps(chosen->facts);
    take.loop = chosen->facts.job.loop;
    if (match_loudness && !chosen->is_live && !chosen->is_capture)
        take.gain = loudness_match_gain(chosen->facts.loudness_lufs, chosen->facts.rms_db, chosen->facts.peak_db,
                                        common_loudness());
    const bool is_same = playing && playing->audio == take.audio && playing->draft == take.draft &&
                         playing->start_ppq == take.start_ppq && playing->bpm == take.bpm &&
                         playing->tempo == take.tempo && playing->loop == take.loop && playing->gain == take.gain;
    if (!is_same) player_.set_take(std::make_shared<const PlayableTake>(take));
}

/// The loudest that both sides of A/B can be brought to: a peak may hold one of them back.
double Session::common_loudness() const {
    double common = kEqualLoudnessLufs;
    for (const auto* side : {book_.chosen(), book_.a_b_partner()})
        if (side && !side->is_live && !side->is_capture && !side->facts.audio.empty())
            common = std::min(common, reached_lufs(side->facts));
    return common;
}

Plan Session::plan() {
    if (host_rate_ <= 0.0) {
        Plan none;
        none.problem = "The host has not told its sample rate yet.";
        return none;
    }
    CapturedPlace place;
    if (const auto* capture = book_.capture()) {
        const auto& facts = capture->facts;
        place = {facts.num_samples, facts.sample_rate, facts.start_ppq, facts.bpm, facts.numerator, facts.denominator};
    }
    const auto hello = client_.status().hello;
    const auto rate = job_rate(host_rate_, hello ? hello->limits.sample_rates
                                                 : std::vector<std::int64_t>{44100, 48000, 88200, 96000, 176400, 192000});
    auto plan = make_plan(recipe_, transport_, tempo_memory_, anchor_ppq_, rate, place);
    if (plan.problem.empty()) plan.problem = length_problem(plan.selection.num_samples, plan.sample_rate);
    return plan;
}

/// Why so much cannot be made, in one sentence, before anything is sent; empty when it can.
std::string Session::length_problem(std::int64_t num_samples, std::int64_t sample_rate) const {
    const auto hello = client_.status().hello;
    auto most = TakeAudio::kMaxSamples;
    if (hello && hello->limits.max_clip_seconds > 0) most = std::min(most, hello->limits.max_clip_seconds * sample_rate);
    if (num_samples <= most) return {};
    char words[160];
    std::snprintf(words, sizeof words, "This would be %lld s long; at %lld Hz at most %lld s can be made at once.",
                  static_cast<long long>(num_samples / sample_rate), static_cast<long long>(sample_rate),
                  static_cast<long long>(most / sample_rate));
    return words;
}

SessionView Session::view() {
    const Lock lock(mutex_);
    SessionView view;
    view.daemon = client_.status();
    view.recipe = recipe_;
    view.recipe_version = recipe_version_;
    view.plan = plan();
    view.takes = book_.entries();
    view.chosen_key = book_.chosen_key();
    if (const auto* entry = book_.chosen()) view.shown = *entry;
    view.can_undo = book_.can_undo();
    view.can_redo = book_.can_redo();
    if (const auto* running = job_.running()) {
        view.is_running = true;
        view.progress = running->progress();
        view.eta_seconds = running->eta_seconds();
    }
    view.message = message_.empty() ? describe_problems(transport_.problems) : message_;
    view.capture = capture_.state();
    view.capture_follows_transport = capture_follows_transport_;
    if (host_rate_ > 0.0) view.captured_seconds = static_cast<double>(capture_.num_recorded()) / host_rate_;
    view.transport = transport_;
    view.play_head = player_.play_head();
    return view;
}

void Session::set_recipe(Recipe recipe) {
    const Lock lock(mutex_);
    recipe_ = cleaned(std::move(recipe));
    ++recipe_version_;
}

Recipe Session::recipe() {
    const Lock lock(mutex_);
    return recipe_;
}

void Session::prepare(double host_rate) {
    const Lock lock(mutex_);
    host_rate_ = host_rate;
    player_.prepare(host_rate);
    capture_.prepare(host_rate);
    has_taken_capture_ = true;
}

Job Session::job_from_recipe() {
    if (!recipe_.seed_locked) {
        recipe_.seed = random_seed();
        ++recipe_version_;
    }
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
    job.durable = true;  // a project that is closed meanwhile finds the take when it is opened again
    return job;
}

/// The chosen take where an edit may start from it; else null, and the message says so.
const TakeEntry* Session::whole_source(const char* verb) {
    if (job_.running()) return nullptr;
    const auto* chosen = book_.chosen();
    if (chosen && chosen->audio && chosen->audio->is_complete()) return chosen;
    message_ = std::string("There is no whole take to ") + verb + " yet.";
    return nullptr;
}

void Session::submit(Job job, TakeFacts facts, std::shared_ptr<const TakeAudio> source) {
    message_ = length_problem(job.num_samples, job.sample_rate);
    if (!message_.empty()) return;
    const auto daemon = client_.status();
    if (daemon.state == DaemonState::kNoDaemon || daemon.state == DaemonState::kFailed) client_.start_daemon();
    job_.begin(std::move(job), std::move(facts), std::move(source));
}

void Session::generate() {
    const Lock lock(mutex_);
    follow_transport();
    if (job_.running()) return;
    const auto wanted = plan();
    if (!wanted.problem.empty()) {
        message_ = wanted.problem;
        return;
    }
    auto job = job_from_recipe();
    job.num_samples = wanted.selection.num_samples;
    job.start_sample = wanted.selection.start_sample;
    job.sample_rate = wanted.sample_rate;
    job.tempo_map = wanted.tempo_map;
    TakeFacts facts;
    facts.label = "generate";
    place(facts, wanted.selection.start_ppq, wanted.tempo_map);
    submit(std::move(job), std::move(facts), nullptr);
}

void Session::submit_edit(const char* label, const TakeEntry& source, Job job) {
    const auto& from = source.facts;
    job.sample_rate = from.sample_rate;
    job.tempo_map = from.job.tempo_map;
    if (job.tempo_map.empty()) job.tempo_map = {{0.0, from.bpm, from.numerator, from.denominator}};
    TakeFacts facts;
    facts.label = label;
    job.start_sample = std::max<std::int64_t>(0, TempoMap(job.tempo_map).sample_at(from.start_ppq, from.sample_rate));
    place(facts, from.start_ppq, job.tempo_map);
    submit(std::move(job), std::move(facts), source.audio);
}

void Session::repaint(std::vector<Region> regions) {
    const Lock lock(mutex_);
    const auto* from = whole_source("repaint");
    if (!from) return;
    if (regions.empty()) {
        message_ = "Drag over the waveform what shall be made anew, then press Repaint.";
        return;
    }
    auto job = job_from_recipe();
    job.loop = from->facts.job.loop;
    submit_edit("repaint", *from, inpaint(std::move(job), "", from->audio->num_samples(), std::move(regions)));
}

void Session::continue_take() {
    const Lock lock(mutex_);
    const auto* from = whole_source("continue");
    if (!from) return;
    const auto& facts = from->facts;
    const double quarters = recipe_.continue_bars * 4.0 * static_cast<double>(facts.numerator) / static_cast<double>(facts.denominator);
    const double bpm = facts.job.tempo_map.empty() ? facts.bpm : facts.job.tempo_map.back().bpm;
    const auto num_samples = std::llround(quarters * 60.0 / bpm * static_cast<double>(facts.sample_rate));
    auto job = job_from_recipe();
    job.loop = false;
    submit_edit("continue", *from, continue_after(std::move(job), "", from->audio->num_samples(), num_samples));
}

void Session::restyle() {
    const Lock lock(mutex_);
    const auto* from = whole_source("restyle");
    if (!from) return;
    auto job = job_from_recipe();
    job.loop = from->facts.job.loop;
    submit_edit("restyle", *from, sa3::restyle(std::move(job), "", from->audio->num_samples(), recipe_.init_level));
}

void Session::make_again() {
    const Lock lock(mutex_);
    const auto* entry = book_.chosen();
    if (job_.running() || !entry || entry->facts.job.num_samples == 0) return;
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
    job_.cancel();
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

bool Session::is_auditioning() {
    const Lock lock(mutex_);
    return player_.is_auditioning();
}

void Session::start_capture(bool with_transport) {
    const Lock lock(mutex_);
    has_taken_capture_ = false;
    capture_follows_transport_ = with_transport;
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
        if (entry.facts.audio.empty() && !entry.facts.is_unfinished()) continue;
        if (entry.key == book_.chosen_key()) saved.chosen = static_cast<std::int64_t>(saved.takes.size());
        saved.takes.push_back(entry.facts);
    }
    job_.note_saved();
    return saved;
}

void Session::restore(const SavedSession& saved) {
    const Lock lock(mutex_);
    recipe_ = cleaned(saved.recipe);
    ++recipe_version_;
    fetch_ = 0;
    const auto* recorded = book_.capture();  // no state holds it: it stays
    const auto capture = recorded ? std::optional<TakeEntry>(*recorded) : std::nullopt;
    book_ = TakeBook();
    if (capture) book_.add(*capture);
    std::int64_t chosen = 0;
    for (std::size_t i = 0; i < saved.takes.size(); ++i) {
        TakeEntry entry;
        entry.facts = saved.takes[i];
        entry.is_sought = entry.facts.is_unfinished();
        const auto key = book_.add(std::move(entry));
        if (static_cast<std::int64_t>(i) == saved.chosen) chosen = key;
    }
    if (chosen != 0) book_.choose(chosen);
    job_.adopt_book();
    transport_ = latch_.read();
    if (!transport_.has_block) {
        latch_.restore(saved.transport);
        transport_ = latch_.read();
    }
    anchor_ppq_ = saved.anchor_ppq;
}

void Session::set_message(std::string message) {
    const Lock lock(mutex_);
    message_ = std::move(message);
}

bool Session::is_awaiting() const {
    const auto* chosen = book_.chosen();
    if (const auto* running = job_.running()) return running->state() == JobState::kWaiting;
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
