#include "hostd/recorder.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "base/log.h"
#include "hostd/convert.h"
#include "migrate/checkpoint.h"
#include "migrate/files.h"

namespace hob::hostd {
namespace {

/// For the source to connect, and for each of its next words.
constexpr auto kPatience = seconds(30);

}  // namespace

// ---------------------------------------------------------------------------------- in hostd

Recorder::Recorder(EventLoop& loop, Child child, Events events)
    : loop_(loop), child_(std::move(child)), events_(std::move(events)) {}

Recorder::~Recorder() {
  ::kill(child_.pid, SIGKILL);
  ::waitpid(child_.pid, nullptr, 0);
}

Result<std::unique_ptr<Recorder>> Recorder::start(EventLoop& loop, const migrate::Cgroup& group,
                                                  const std::string& starter,
                                                  const std::string& address, pb::Record record,
                                                  Events events) {
  auto [ours, theirs] = TRY(make_socket_pair(true));
  Child child = TRY(start_child(group, {starter, "record", address}, std::move(theirs)));
  std::unique_ptr<Recorder> recorder(new Recorder(loop, std::move(child), std::move(events)));
  Recorder* raw = recorder.get();
  recorder->channel_ = TRY(wire::StreamChannel::create(
      loop, std::move(ours),
      {[raw](wire::Message message) { raw->on_message(std::move(message)); },
       [raw](const Error&) {
         raw->end(Error{"write the checkpoint: its recorder has died", EPIPE});
       }}));
  pb::Envelope envelope;
  *envelope.mutable_record() = std::move(record);
  recorder->channel_->send(std::move(envelope));
  return recorder;
}

void Recorder::on_message(wire::Message message) {
  const pb::Envelope& envelope = message.envelope;
  if (envelope.has_listening()) return events_.listening(envelope.listening());
  if (!envelope.has_recorded())
    return end(Error{"write the checkpoint: an unknown answer", EPROTO});
  const pb::Recorded& recorded = envelope.recorded();
  if (recorded.error().empty()) return end(recorded.size());
  end(Error{recorded.error(), EIO});
}

void Recorder::end(Result<uint64_t> outcome) {
  // Not from here: whoever hears it drops us.
  loop_.defer([ended = std::exchange(events_.ended, nullptr), outcome = std::move(outcome)] {
    if (ended) ended(outcome);
  });
}

// ---------------------------------------------------------------------------------- in the
// recorder

namespace {

/// Beside the path at first, so that what was there before stays until the new one is whole.
Result<uint64_t> write_checkpoint(migrate::Listener listener, const pb::Record& record) {
  const migrate::AsUser rights(credentials_of(record.identity()));
  const std::string beside = record.path() + ".part";
  Fd file = TRY(open_file(beside, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
  auto size = migrate::record_checkpoint(std::move(listener), std::move(file), kPatience);
  if (size.ok() && ::rename(beside.c_str(), record.path().c_str()) == 0) return size;
  Error why = size.ok() ? Error::sys("rename", beside) : std::move(size).error();
  ::unlink(beside.c_str());
  return why;
}

struct Recording {
  Recording(EventLoop& l, std::string a) : loop(l), address(std::move(a)) {}
  EventLoop& loop;
  std::string address;
  std::unique_ptr<wire::StreamChannel> channel;

  void on_record(const pb::Record& record) {
    migrate::LinkKey key;
    pb::Envelope recorded;
    recorded.mutable_recorded();
    const auto work = [&]() -> Result<uint64_t> {
      if (record.key().size() != key.size())
        return Error{"make a checkpoint: a key of the wrong size", EINVAL};
      std::copy(record.key().begin(), record.key().end(), key.begin());
      auto listener = TRY(migrate::Listener::open(address, key));
      pb::Envelope listening;
      listening.mutable_listening()->set_job(record.job());
      listening.mutable_listening()->set_attempt(record.attempt());
      listening.mutable_listening()->set_address(address);
      listening.mutable_listening()->set_port(listener.port());
      channel->send(std::move(listening));
      loop.run_once(milliseconds(0));
      return write_checkpoint(std::move(listener), record);
    };
    const auto size = work();
    if (size.ok())
      recorded.mutable_recorded()->set_size(*size);
    else
      recorded.mutable_recorded()->set_error(size.error().text);
    channel->send(std::move(recorded));
    loop.stop();
  }
};

}  // namespace

int record(const std::string& address) {
  auto loop = EventLoop::create();
  if (!loop.ok()) return log::error("{}", loop.error().text), 1;
  Recording recording(**loop, address);
  auto channel = wire::StreamChannel::create(**loop, Fd(3),
                                             {[&recording](wire::Message message) {
                                                if (message.envelope.has_record())
                                                  recording.on_record(message.envelope.record());
                                              },
                                              [&loop](const Error&) { (*loop)->stop(); }});
  if (!channel.ok()) return log::error("{}", channel.error().text), 1;
  recording.channel = std::move(*channel);
  (*loop)->run();
  (*loop)->run_once(milliseconds(0));
  return 0;
}

}  // namespace hob::hostd
