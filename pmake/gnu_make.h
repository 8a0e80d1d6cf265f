#pragma once

#include <string>
#include <string_view>

namespace hob::pmake {

/// A makefile for MAKEFILES (the make manual, "The Variable MAKEFILES"), read before the user's by
/// his make and by all makes below it, that puts `shell` under every recipe, makefiles that set
/// SHELL included, and tells it the target and what SHELL the makefile itself has. $(shell) and the
/// default goal stay as they are.
std::string makefile(const std::string& shell);

/// `flags`, what MAKEFLAGS was, with our jobserver in place of any other, and with output in one
/// piece per target if `sync`, unless `flags` say something of that.
std::string make_flags(std::string_view flags, std::string_view auth, bool sync);

}  // namespace hob::pmake
