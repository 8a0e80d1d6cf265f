// hob-look: what `remote` needs the engine for, so that it need not carry it: looks at processes
// and at images, with its caller's rights. Started by `remote` alone.
//   hob-look process PID    answers with one message (Checked or Failure) on descriptor 3
//   hob-look image FILE -v|-q    prints an image, all of it or in short
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <string_view>

#include "hostd/convert.h"
#include "migrate/check.h"
#include "migrate/checkpoint.h"
#include "migrate/print.h"
#include "wire/stream.h"

namespace {

using namespace hob;

enum Status { kDone = 0, kFailed = 1, kUsage = 2, kNotFound = 4, kNotPermitted = 5 };

pb::Failure::Kind kind_of(int code) {
  if (code == ESRCH) return pb::Failure::NOT_FOUND;
  return code == EPERM || code == EACCES ? pb::Failure::NOT_PERMITTED : pb::Failure::INTERNAL;
}

int look_at_process(std::string_view number) {
  constexpr int kChannel = 3;
  pid_t process = 0;
  const char* past = number.data() + number.size();
  const auto [end, error] = std::from_chars(number.data(), past, process);
  if (error != std::errc() || end != past) process = 0;  // there is none of that number
  char host[64] = {};
  ::gethostname(host, sizeof host - 1);
  const auto found = migrate::examine_process(process);
  wire::Message answer{found.ok() ? hostd::checked(*found, host)
                                  : wire::failure(kind_of(found.error().code), found.error().text),
                       {}};
  answer.envelope.set_answers(1);
  return wire::send_blocking(kChannel, std::move(answer)).ok() ? kDone : kFailed;
}

/// Of a checkpoint the image, and how much there is besides; else a bare image or announcement.
Result<std::vector<std::string>> print_file(const std::string& path, migrate::Detail detail) {
  char magic[8] = {};
  Fd file = TRY(open_file(path, O_RDONLY | O_NOCTTY));
  const ssize_t n = ::pread(file.get(), magic, sizeof magic, 0);
  if (n < 0) return Error::sys("read", path);
  const std::string_view start(magic, static_cast<size_t>(n));
  if (start.starts_with("HOBCKPT")) {
    const auto checkpoint = TRY(migrate::CheckpointFile::read(std::move(file)));
    TRY(checkpoint.verify());
    const auto image = TRY(migrate::decode_image(checkpoint.image()));
    std::vector<std::string> lines{"checkpoint: " + migrate::size_for_people(checkpoint.size())};
    for (std::string& line : migrate::print(image, detail)) lines.push_back(std::move(line));
    return lines;
  }
  const std::string text = TRY(read_file(path, migrate::kMaxImage));
  const std::span bytes(reinterpret_cast<const std::byte*>(text.data()), text.size());
  if (start == "HOBANNCE") return migrate::print(TRY(migrate::decode_announcement(bytes)), detail);
  return migrate::print(TRY(migrate::decode_image(bytes)), detail);
}

int look_at_image(const std::string& path, migrate::Detail detail) {
  const auto lines = print_file(path, detail);
  if (!lines.ok()) {
    std::fprintf(stderr, "remote: inspect %s: %s\n", migrate::printable(path).c_str(),
                 lines.error().text.c_str());
    const int code = lines.error().code;
    return code == ENOENT ? kNotFound : code == EACCES ? kNotPermitted : kFailed;
  }
  std::string text;
  for (const std::string& line : *lines) text += line + "\n";
  const auto written = write_all(STDOUT_FILENO, std::as_bytes(std::span(text)), "stdout");
  if (written.ok()) return kDone;
  std::fprintf(stderr, "remote: %s\n", written.error().text.c_str());
  return kFailed;
}

}  // namespace

int main(int count, char** arguments) {
  const std::string_view verb = count > 1 ? arguments[1] : "";
  if (verb == "process" && count == 3) return look_at_process(arguments[2]);
  if (verb == "image" && count == 4) {
    const bool all = std::string_view(arguments[3]) == "-v";
    return look_at_image(arguments[2], all ? migrate::Detail::all : migrate::Detail::summary);
  }
  std::fprintf(stderr,
               "hob-look: is started by `remote`; use `remote check` or `remote inspect`\n");
  return kUsage;
}
