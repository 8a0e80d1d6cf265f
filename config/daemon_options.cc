#include "config/daemon_options.h"

#include <CLI/CLI.hpp>
#include <cstdio>

namespace hob {

std::variant<DaemonOptions, int> daemon_options(const std::string& name, const std::string& summary,
                                                const std::string& config, int count,
                                                const char* const* words) {
  DaemonOptions options{config};
  CLI::App app(summary, name);
  app.add_option("--config", options.config, "Config file")
      ->type_name("FILE")
      ->capture_default_str();
  app.add_flag("--check-config", options.check_only, "Check it, print every key's value, and end");
  app.set_version_flag("--version", name + " " HOB_VERSION);
  try {
    app.parse(count, words);
  } catch (const CLI::ExtrasError&) {
    std::fprintf(stderr, "%s: '%s' is no option of %s; see `%s --help`\n", name.c_str(),
                 app.remaining().front().c_str(), name.c_str(), name.c_str());
    return 2;
  } catch (const CLI::ArgumentMismatch& error) {
    const std::string text = error.what();  // "--config: 1 required FILE missing"
    std::fprintf(stderr, "%s: %s needs a value; see `%s --help`\n", name.c_str(),
                 text.substr(0, text.find(':')).c_str(), name.c_str());
    return 2;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // help, version
    std::fprintf(stderr, "%s: %s; see `%s --help`\n", name.c_str(), error.what(), name.c_str());
    return 2;
  }
  return options;
}

}  // namespace hob
