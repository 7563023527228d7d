// One connected socket to one daemon, with its monitor. Knows no job and no state of the client.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "sa3/connection.h"
#include "sa3/framing.h"

namespace sa3 {

/// A message as it came: decoded, with its raw buffers.
struct Arrived {
    Received received;
    std::vector<zmq::message_t> buffers;
};

/// Belongs to the worker thread. Everything may throw zmq::error_t; the link is of no use afterwards.
class Link {
public:
    Link(zmq::context_t& context, const Connection& connection)
        : socket_(context, ZMQ_DEALER), monitor_(context, ZMQ_PAIR) {
        static constexpr std::int64_t kMaxFrameBytes = 64 << 20;
        static constexpr int kGone = ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CONNECT_RETRIED |
                                     ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                                     ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL;
        socket_.set(zmq::sockopt::linger, 0);
        monitor_.set(zmq::sockopt::linger, 0);
        socket_.set(zmq::sockopt::heartbeat_ivl, 1000);
        socket_.set(zmq::sockopt::heartbeat_timeout, 3000);
        socket_.set(zmq::sockopt::maxmsgsize, kMaxFrameBytes);
        socket_.set(zmq::sockopt::curve_serverkey, connection.server_key);
        socket_.set(zmq::sockopt::curve_publickey, connection.client_public_key);
        socket_.set(zmq::sockopt::curve_secretkey, connection.client_secret_key);
        static constexpr const char* kMonitor = "inproc://sa3-link-monitor";
        if (zmq_socket_monitor(socket_.handle(), kMonitor, kGone) != 0) throw zmq::error_t();
        monitor_.connect(kMonitor);
        socket_.connect(connection.tcp);
    }
    ~Link() { zmq_socket_monitor(socket_.handle(), nullptr, 0); }
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;

    /// Send a message; false when the socket takes no more.
    bool send(const Frames& frames, const void* buffer = nullptr, std::size_t num_bytes = 0) {
        for (std::size_t i = 0; i < frames.size(); ++i) {
            const bool is_last = i + 1 == frames.size() && !buffer;
            auto flags = zmq::send_flags::dontwait;
            if (!is_last) flags = flags | zmq::send_flags::sndmore;
            if (!socket_.send(zmq::buffer(frames[i]), flags)) return false;
        }
        return !buffer || socket_.send(zmq::const_buffer(buffer, num_bytes), zmq::send_flags::dontwait).has_value();
    }

    /// Let what was sent leave after the end too, for at most `timeout`.
    void send_what_waits(std::chrono::milliseconds timeout) {
        socket_.set(zmq::sockopt::linger, static_cast<int>(timeout.count()));
    }

    /// Wait for a message or a sign of the connection's end, at most `timeout`.
    void wait(std::chrono::milliseconds timeout) {
        zmq::pollitem_t items[] = {{socket_.handle(), 0, ZMQ_POLLIN, 0}, {monitor_.handle(), 0, ZMQ_POLLIN, 0}};
        zmq::poll(items, 2, timeout);
    }

    /// The next message, nullopt when none waits. Unknown and unreadable ones are passed over; VersionMismatch is
    /// thrown.
    std::optional<Arrived> receive() {
        for (;;) {
            std::vector<zmq::message_t> frames;
            do {
                auto& frame = frames.emplace_back();
                if (!socket_.recv(frame, zmq::recv_flags::dontwait)) return std::nullopt;
            } while (frames.back().more());
            if (frames.size() < 3) continue;
            try {
                auto received =
                    decode(frames[0].to_string_view(), frames[1].to_string_view(), frames[2].to_string_view());
                if (!received) continue;
                frames.erase(frames.begin(), frames.begin() + 3);
                return Arrived{std::move(*received), std::move(frames)};
            } catch (const VersionMismatch&) {
                throw;
            } catch (const ProtocolError&) {
                continue;  // a job that waits for what this was ends by the daemon's next word or its silence
            }
        }
    }

    /// Whether the connection has been refused or lost: a daemon listens before its file appears, so once is enough.
    bool is_gone() {
        zmq::message_t event;
        return monitor_.recv(event, zmq::recv_flags::dontwait).has_value();
    }

private:
    zmq::socket_t socket_;
    zmq::socket_t monitor_;
};

}  // namespace sa3
