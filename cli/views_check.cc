// cli/views.h, the answer to `remote check`.
#include <fmt/core.h>

#include "base/json.h"
#include "cli/say.h"
#include "cli/text.h"
#include "cli/views.h"

namespace hob::cli {
namespace {

std::string document(const pb::Checked& checked, const CheckOptions& options) {
  JsonWriter json;
  json.member("schema", 1).member("checked", options.what).member("host", checked.host());
  json.member("movable", checked.obstacles_size() == 0).array("obstacles");
  for (const std::string& obstacle : checked.obstacles())
    json.object().member("text", obstacle).end();
  json.end();
  if (options.table) {
    json.array("resources");
    for (const pb::Checked::Resource& r : checked.resources()) {
      json.object().member("process", r.process()).member("program", r.program());
      json.member("place", r.place()).member("kind", r.kind()).member("binding", r.binding());
      json.member("reason", r.reason()).member("name", r.name()).end();
    }
    json.end().member("left_out", checked.left_out());
  }
  return std::move(json).document();
}

}  // namespace

std::string view(const pb::Checked& checked, const CheckOptions& options) {
  if (options.json) return document(checked, options);
  const bool movable = checked.obstacles_size() == 0;
  std::string out =
      printable(fmt::format("{} on {}: {}", options.what, checked.host(),
                            movable ? "nothing stands in the way of a move" : "cannot be moved")) +
      "\n";
  for (const std::string& obstacle : checked.obstacles()) out += printable(obstacle) + "\n";
  if (!options.table) return out;
  Table table({"PROCESS", "WHAT", "KIND", "BINDING", "NAME", "WHY"}, {0});
  for (const pb::Checked::Resource& r : checked.resources())
    table.add(
        {std::to_string(r.process()), r.place(), r.kind(), r.binding(), r.name(), r.reason()});
  out += "\n" + table.text(true);
  if (checked.left_out() > 0) out += fmt::format("and {} more\n", checked.left_out());
  return out;
}

}  // namespace hob::cli
