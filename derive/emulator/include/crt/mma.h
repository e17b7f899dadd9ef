// Where the toolkit keeps it; emitted text asks whether it is there.
#pragma once

#include "../mma.h"
