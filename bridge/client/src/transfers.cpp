// Stored audio to the daemon and from it, piece by piece. Knows no job.
#include <algorithm>
#include <cstring>
#include <utility>

#include "daemon_worker.h"

namespace sa3 {
namespace {

constexpr std::int64_t kPieceSamples = (1 << 20) / (4 * kNumChannels);
constexpr int kPiecesAhead = 4;

std::string refusal(const Message& reply) {
    const auto* rejected = std::get_if<Rejected>(&reply);
    return rejected ? rejected->message : "the daemon answered something else";
}

}  // namespace

struct DaemonWorker::Upload {
    std::vector<float> planar;
    std::string audio;
    std::int64_t num_samples = 0;
    std::int64_t num_sent = 0;
    int num_in_flight = 0;
    OnStored on_stored;  // empty once told

    void tell(const std::string& problem) {
        if (auto told = std::exchange(on_stored, nullptr)) told(audio, problem);
    }
};

struct DaemonWorker::Download {
    RequestId request = 0;
    std::string address;
    double sample_rate = 0.0;
    std::shared_ptr<TakeAudio> audio;
};

void DaemonWorker::put_audio(RequestId id, std::shared_ptr<const TakeAudio> audio) {
    if (!is_greeted_ || !audio) {
        emit(AudioStored{id, "", audio ? no_daemon().message : "There is no audio."});
        return;
    }
    upload(std::move(audio), [this, id](const std::string& address, const std::string& problem) {
        emit(AudioStored{id, problem.empty() ? address : "", problem});
    });
}

void DaemonWorker::upload(std::shared_ptr<const TakeAudio> audio, OnStored on_stored) {
    auto upload = std::make_shared<Upload>();
    upload->planar = audio->planar();
    upload->num_samples = audio->num_samples();
    upload->audio = content_address(upload->planar.data(), upload->planar.size(), [this] { return is_quitting(); });
    if (upload->audio.empty()) return;
    upload->on_stored = std::move(on_stored);
    request(HasAudio{upload->audio}, [this, upload](const Message& reply, const auto&) {
        const auto* has = std::get_if<HasAudioReply>(&reply);
        if (!has)
            upload->tell(refusal(reply));
        else if (has->have)
            upload->tell("");
        else
            send_pieces(upload);
    });
}

void DaemonWorker::send_pieces(const std::shared_ptr<Upload>& upload) {
    while (upload->num_in_flight < kPiecesAhead && upload->num_sent < upload->num_samples) {
        const auto start = upload->num_sent;
        const auto num_here = std::min(kPieceSamples, upload->num_samples - start);
        std::vector<float> piece;
        for (int channel = 0; channel < kNumChannels; ++channel) {
            const auto* from = upload->planar.data() + channel * upload->num_samples + start;
            piece.insert(piece.end(), from, from + num_here);
        }
        upload->num_sent += num_here;
        ++upload->num_in_flight;
        request(
            PutAudio{upload->audio, upload->num_samples, start, num_here},
            [this, upload](const Message& reply, const auto&) {
                --upload->num_in_flight;
                const auto* put = std::get_if<PutAudioReply>(&reply);
                if (!put)
                    upload->tell(refusal(reply));
                else if (put->complete)
                    upload->tell("");
                else if (upload->on_stored)
                    send_pieces(upload);
            },
            piece.data(), piece.size() * sizeof(float));
    }
}

void DaemonWorker::get_audio(RequestId id, std::string audio, double sample_rate) {
    auto download = std::make_shared<Download>();
    download->request = id;
    download->address = std::move(audio);
    download->sample_rate = sample_rate;
    if (is_greeted_)
        fetch_pieces(download);
    else
        emit(AudioFetched{id, nullptr, false, no_daemon().message});
}

void DaemonWorker::fetch_pieces(const std::shared_ptr<Download>& download) {
    const auto start = download->audio ? download->audio->num_available() : 0;
    request(GetAudio{download->address, start, kPieceSamples},
            [this, download](const Message& reply, const std::vector<zmq::message_t>& buffers) {
                take_piece(download, reply, buffers);
            });
}

void DaemonWorker::take_piece(const std::shared_ptr<Download>& download, const Message& reply,
                              const std::vector<zmq::message_t>& buffers) {
    const auto fail = [this, &download](const std::string& problem) {
        if (download->audio) download->audio->end();
        emit(AudioFetched{download->request, download->audio, false, problem});
    };
    const auto* part = std::get_if<GetAudioReply>(&reply);
    if (!part) return fail(refusal(reply));
    const auto start = download->audio ? download->audio->num_available() : 0;
    if (part->start_sample != start || part->num_samples <= 0 || part->num_samples > kPieceSamples ||
        part->num_channels != kNumChannels || buffers.size() != 1 ||
        static_cast<std::int64_t>(buffers[0].size()) != 4 * kNumChannels * part->num_samples)
        return fail("The daemon sent a part that does not fit.");
    if (!download->audio) {
        download->audio = std::make_shared<TakeAudio>(part->total_num_samples, download->sample_rate);
        emit(AudioFetched{download->request, download->audio, false, ""});
    }
    std::vector<float> samples(buffers[0].size() / sizeof(float));
    std::memcpy(samples.data(), buffers[0].data(), buffers[0].size());
    if (download->audio->append(samples.data(), kNumChannels, part->num_samples) != part->num_samples)
        return fail("The stored audio is too long.");
    if (!download->audio->is_complete()) {
        fetch_pieces(download);
        return;
    }
    const auto planar = download->audio->planar();
    const auto found = content_address(planar.data(), planar.size(), [this] { return is_quitting(); });
    if (found.empty()) return;
    const bool is_right = found == download->address;
    emit(AudioFetched{download->request, download->audio, is_right,
                      is_right ? "" : "The stored audio is not what its address says."});
}

}  // namespace sa3
