#include "migrate/print.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <csignal>
#include <cstring>
#include <map>

#include "migrate/advice.h"
#include "migrate/bindings.h"
#include "migrate/print_parts.h"

namespace hob::migrate {
namespace {

std::string count(size_t n, std::string_view one) {
  return fmt::format("{} {}{}", n, one, n == 1 ? "" : one.ends_with("s") ? "es" : "s");
}

std::string parent_of(const TreeNode& node) {
  if (node.parent == 0) return "the root";
  if (node.parent == 1) return "an orphan";
  return fmt::format("child of {}", node.parent);
}

std::string line_of(const TreeNode& node) {
  std::string line = fmt::format("process {}: {}, group {}, session {}", node.pid, parent_of(node),
                                 node.group, node.session);
  if (node.terminal) line += ", on the terminal";
  if (node.zombie) line += fmt::format(", ended with {:#x} and not reaped", node.exit_code);
  return line;
}

std::string executable_of(const Image& image, const ProcessImage& p) {
  if (p.executable_is_object) return image.objects[p.executable].path + " (in the image)";
  return p.files[p.executable].path;
}

void print_memory(const Image& image, const ProcessImage& p, std::vector<std::string>& out) {
  uint64_t total = 0;
  std::map<std::string_view, uint64_t> by_kind;
  for (const MappingImage& m : p.mappings) {
    total += m.range.size();
    by_kind[rule_for(m.kind, m.shared).kind] += m.range.size();
  }
  std::string parts;
  for (const auto& [kind, size] : by_kind)
    parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", kind, size_for_people(size));
  out.push_back(fmt::format("  memory: {} in {}{}{}; {} in the image", size_for_people(total),
                            count(p.mappings.size(), "mapping"), parts.empty() ? "" : ": ", parts,
                            count(p.pages.size(), "page")));
  out.push_back("  program: " + printable(executable_of(image, p)));
}

void print_process(const Image& image, const ProcessImage& p, const TreeNode& node, Detail detail,
                   std::vector<std::string>& out) {
  out.push_back("");
  out.push_back(line_of(node) + ": " + printable(p.threads[0].name) +
                (p.stop_signal ? ", stopped" : ""));
  print_memory(image, p, out);
  out.push_back(fmt::format("  directory: {}, umask {:03o}", printable(p.directory), p.umask));
  out.push_back(fmt::format("  {}, {}, {}", count(p.threads.size(), "thread"),
                            count(p.descriptors.size(), "descriptor"),
                            count(p.timers.size(), "timer")));
  if (detail == Detail::all) print_parts(image, p, out);
}

void print_shared(const Image& image, std::vector<std::string>& out) {
  if (!image.descriptions.empty()) out.push_back("");
  for (size_t i = 0; i < image.descriptions.size(); i++)
    out.push_back(fmt::format("description {}: {}", i, line_of(image, image.descriptions[i])));
  for (size_t i = 0; i < image.pipes.size(); i++)
    out.push_back(fmt::format("pipe {}: {}", i, line_of(image.pipes[i])));
  for (size_t i = 0; i < image.objects.size(); i++)
    out.push_back(fmt::format("object {}: {}", i, line_of(image.objects[i])));
  for (size_t i = 0; i < image.sockets.size(); i++)
    out.push_back(fmt::format("socket {}: {}", i, line_of(image.sockets[i])));
  for (size_t i = 0; i < image.inet_sockets.size(); i++)
    out.push_back(fmt::format("network socket {}: {}", i, line_of(image.inet_sockets[i])));
  for (size_t i = 0; i < image.filters.size(); i++)
    out.push_back(fmt::format("seccomp filter {}: {} instructions{}", i,
                              image.filters[i].code.size() / 8,
                              image.filters[i].log ? ", logs" : ""));
  for (size_t i = 0; i < image.ptys.size(); i++)
    out.push_back(fmt::format("pty {}: {}", i, line_of(image.ptys[i])));
  for (const LockImage& lock : image.locks) out.push_back("lock: " + line_of(image, lock));
}

}  // namespace

std::string size_for_people(uint64_t bytes) {
  constexpr std::string_view kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(kUnits); unit++) value /= 1024;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string printable(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == '\x7f') c = '?';
  return out;
}

std::vector<std::string> print(const Announcement& announcement, Detail) {
  std::vector<std::string> out;
  const Platform& platform = announcement.platform;
  out.push_back(
      fmt::format("announcement: {}{}{}, {}, vdso of {}, processor state of {}",
                  count(announcement.tree.size(), "process"), announcement.copy ? ", copied" : "",
                  announcement.runs ? ", running" : "", name_of(announcement.strategy),
                  size_for_people(platform.vdso.size()), size_for_people(platform.state.size)));
  out.push_back("processor: " + printable(platform.features));
  for (const TreeNode& node : announcement.tree) out.push_back(line_of(node));
  return out;
}

std::vector<std::string> print(const Image& image, Detail detail) {
  std::vector<std::string> out;
  size_t threads = 0, pages = 0;
  for (const ProcessImage& p : image.processes) {
    threads += p.threads.size();
    pages += p.pages.size();
  }
  out.push_back(fmt::format("image: {}, {}, {} of pages, clock at {:.3f} s",
                            count(image.tree.size(), "process"), count(threads, "thread"),
                            size_for_people(pages * kPage),
                            static_cast<double>(image.monotonic) / 1e9));
  if (!image.input.empty())
    out.push_back(
        fmt::format("standard input: {} not yet read", size_for_people(image.input.size())));
  if (image.terminal.present)
    out.push_back(fmt::format("terminal: {} rows, {} columns, session {}, foreground group {}",
                              image.terminal.rows, image.terminal.columns, image.terminal.session,
                              image.terminal.foreground));
  if (!image.hook_bytes.empty())
    out.push_back(fmt::format("standard streams: {}", size_for_people(image.hook_bytes.size())));
  size_t living = 0;
  for (const TreeNode& node : image.tree) {
    if (!node.zombie) {
      print_process(image, image.processes[living++], node, detail, out);
      continue;
    }
    out.push_back("");
    out.push_back(line_of(node));
  }
  if (detail == Detail::all) print_shared(image, out);
  return out;
}

}  // namespace hob::migrate
