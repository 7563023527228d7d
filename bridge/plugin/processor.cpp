// Blocks, state and the timer that keeps the session going. Knows no window's layout and no protocol.
#include "processor.h"

#include "editor.h"

namespace sa3::plugin {

namespace {

constexpr int kServiceHz = 30;
constexpr double kOfflinePatienceSeconds = 180.0;

HostPosition host_position(juce::AudioPlayHead* play_head) {
    HostPosition position;
    if (play_head == nullptr) return position;
    const auto told = play_head->getPosition();
    if (!told) return position;
    position.is_playing = told->getIsPlaying();
    position.is_recording = told->getIsRecording();
    position.is_looping = told->getIsLooping();
    if (const auto ppq = told->getPpqPosition()) position.ppq = *ppq;
    if (const auto samples = told->getTimeInSamples()) position.time_samples = *samples;
    if (const auto bpm = told->getBpm()) position.bpm = *bpm;
    if (const auto metre = told->getTimeSignature()) {
        position.numerator = metre->numerator;
        position.denominator = metre->denominator;
    }
    if (const auto cycle = told->getLoopPoints()) {
        position.cycle_start_ppq = cycle->ppqStart;
        position.cycle_end_ppq = cycle->ppqEnd;
    }
    return position;
}

}  // namespace

Processor::Processor()
    : juce::AudioProcessor(BusesProperties()
                               .withInput("Input", juce::AudioChannelSet::stereo(), true)
                               .withOutput("Output", juce::AudioChannelSet::stereo(), true)),
      parameters_(*this),
      session_(latch_, trail_, player_, capture_) {
    startTimerHz(kServiceHz);
}

Processor::~Processor() { stopTimer(); }

void Processor::prepareToPlay(double sample_rate, int) {
    session_.prepare(sample_rate);
    offline_patience_seconds_ = kOfflinePatienceSeconds;
    setLatencySamples(0);
}

bool Processor::isBusesLayoutSupported(const BusesLayout& layout) const {
    const auto& output = layout.getMainOutputChannelSet();
    return layout.getMainInputChannelSet() == output &&
           (output == juce::AudioChannelSet::mono() || output == juce::AudioChannelSet::stereo());
}

void Processor::processBlock(juce::AudioBuffer<float>& buffer, juce::MidiBuffer&) {
    const juce::ScopedNoDenormals no_denormals;
    const int num_samples = buffer.getNumSamples();
    const int num_channels = juce::jmin(getMainBusNumOutputChannels(), buffer.getNumChannels());
    const auto position = latch_.update(host_position(getPlayHead()), getSampleRate(), num_samples);
    trail_.note(position, getSampleRate(), num_samples);
    parameters_.pass_generate_request();
    if (isNonRealtime()) process_offline(position, num_samples);
    capture_.process(position, buffer.getArrayOfReadPointers(), num_channels, num_samples);
    player_.process(position, parameters_.play_settings(), buffer.getArrayOfWritePointers(), num_channels, num_samples);
}

void Processor::process_offline(const HostPosition& position, int num_samples) {
    using Clock = std::chrono::steady_clock;
    if (offline_patience_seconds_ <= 0.0) {
        session_.service(parameters_.match_loudness());  // a capture needs its memory all the same
        return;
    }
    const auto started = Clock::now();
    const auto patience = [this] { return std::chrono::milliseconds(static_cast<int>(1000.0 * offline_patience_seconds_)); };
    if (parameters_.take_generate_request()) session_.generate();
    follow_listen();
    bool is_whole = session_.wait_until_playable(patience(), parameters_.match_loudness());
    if (is_whole && parameters_.is_on().get()) is_whole = player_.wait_for_audio(position, num_samples, patience());
    offline_patience_seconds_ -= std::chrono::duration<double>(Clock::now() - started).count();
    if (is_whole) return;
    offline_patience_seconds_ = 0.0;
    session_.set_message("The bounce does not hold the whole take: its audio was not there in time. Render again.");
}

void Processor::timerCallback() {
    service();
    const bool has_ended = was_listening_ && parameters_.listen().get() && !session_.is_auditioning();
    if (has_ended) parameters_.listen().setValueNotifyingHost(0.0f);
}

void Processor::service() {
    if (!isNonRealtime()) {  // while rendering, these belong to the blocks
        if (parameters_.take_generate_request()) session_.generate();
        follow_listen();
    }
    session_.service(parameters_.match_loudness());
}

void Processor::follow_listen() {
    const bool shall_listen = parameters_.listen().get();
    if (was_listening_.exchange(shall_listen) != shall_listen) session_.set_auditioning(shall_listen, 0.0);
}

void Processor::getStateInformation(juce::MemoryBlock& to) {
    {
        const juce::ScopedLock lock(newer_state_lock_);
        if (!newer_state_.isEmpty()) {
            to = newer_state_;
            return;
        }
    }
    const auto text = write_state({session_.save(), parameters_.to_json(), window_scale_, is_dark_});
    to.replaceAll(text.toRawUTF8(), text.getNumBytesAsUTF8());
}

void Processor::setStateInformation(const void* bytes, int num_bytes) {
    const auto read = read_state(bytes, num_bytes);
    {
        const juce::ScopedLock lock(newer_state_lock_);
        newer_state_.reset();
        if (read.is_newer) newer_state_.append(bytes, static_cast<size_t>(num_bytes));
    }
    if (read.state) {
        parameters_.from_json(read.state->parameters);
        window_scale_ = read.state->window_scale;
        is_dark_ = read.state->is_dark;
        session_.restore(read.state->session);
        offline_patience_seconds_ = kOfflinePatienceSeconds;
    }
    session_.set_message(read.problem);
}

juce::AudioProcessorEditor* Processor::createEditor() { return new Editor(*this); }

}  // namespace sa3::plugin

juce::AudioProcessor* JUCE_CALLTYPE createPluginFilter() { return new sa3::plugin::Processor; }
