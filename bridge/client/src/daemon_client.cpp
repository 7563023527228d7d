// The public face: puts commands into the worker's queue. Knows no socket.
#include "sa3/daemon_client.h"

#include <utility>

#include "daemon_worker.h"

namespace sa3 {

DaemonClient::DaemonClient(ClientOptions options) : worker_(std::make_unique<DaemonWorker>(std::move(options))) {}
DaemonClient::~DaemonClient() = default;

DaemonStatus DaemonClient::status() const { return worker_->status(); }

void DaemonClient::start_daemon() {
    worker_->post([worker = worker_.get()] { worker->start_daemon(); });
}

RunningJobPtr DaemonClient::submit(Job job, std::shared_ptr<const TakeAudio> source) {
    if (job.job_id.empty()) job.job_id = new_job_id();
    auto running = std::make_shared<RunningJob>(std::move(job), std::move(source));
    worker_->post([worker = worker_.get(), running] { worker->submit(running); });
    return running;
}

void DaemonClient::cancel(const RunningJobPtr& job) {
    if (job) worker_->post([worker = worker_.get(), job] { worker->cancel(job); });
}

RequestId DaemonClient::ask(Message request) {
    const auto id = worker_->new_request();
    worker_->post([worker = worker_.get(), id, message = std::move(request)] { worker->ask(id, message); });
    return id;
}

RequestId DaemonClient::put_audio(std::shared_ptr<const TakeAudio> audio) {
    const auto id = worker_->new_request();
    worker_->post([worker = worker_.get(), id, audio = std::move(audio)] { worker->put_audio(id, audio); });
    return id;
}

RequestId DaemonClient::get_audio(std::string audio, double sample_rate) {
    const auto id = worker_->new_request();
    worker_->post([worker = worker_.get(), id, audio = std::move(audio), sample_rate] {
        worker->get_audio(id, audio, sample_rate);
    });
    return id;
}

void DaemonClient::drain(const std::function<void(const Event&)>& handle) { worker_->drain(handle); }

void DaemonClient::set_wake_up(std::function<void()> wake_up) { worker_->set_wake_up(std::move(wake_up)); }

}  // namespace sa3
