// Everything in it is there already.
#pragma once
#include "derive_cuda.h"
