// What both sides of the Go library see. Functions stand in border.c: a cgo preamble must not define any where `//export` is used.
#pragma once
#include "transom.h"
