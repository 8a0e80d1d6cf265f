// sh: the shell of the recipes of a pmake (recipe.h); by any other name `remote cc` (launcher.h).
// Static, and started once per recipe.
#include <unistd.h>

#include <string>
#include <vector>

#include "cli/say.h"
#include "cli/standard_stream.h"
#include "pmake/launcher.h"
#include "pmake/recipe.h"

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv, argv + argc);
  const std::string path = words.empty() ? hob::pmake::kBourneShell : words[0];
  const std::string name = path.substr(path.rfind('/') + 1);
  if (name == hob::pmake::kBourneShell || name == hob::pmake::kAnyShell) {
    hob::cli::say_as("pmake");
    ::_exit(hob::pmake::run_recipe(path, {words.begin() + (argc > 0), words.end()}));
  }
  hob::cli::say_as("remote cc");
  ::_exit(hob::pmake::run_launcher(words));
}
