// sh: the shell of the recipes of a pmake (recipe.h). Static, and started once per recipe.
#include <unistd.h>

#include <string>
#include <vector>

#include "cli/say.h"
#include "cli/standard_stream.h"
#include "pmake/recipe.h"

int main(int argc, char** argv) {
  hob::cli::say_as("pmake");
  const std::vector<std::string> words(argv + (argc > 0), argv + argc);
  ::_exit(hob::pmake::run_recipe(words));
}
