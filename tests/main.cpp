#include <gtest/gtest.h>

#include "support/backends.h"

int main(int argc, char **argv) {
    testing::InitGoogleTest(&argc, argv);
    muattn::test::restore_settings();
    return RUN_ALL_TESTS();
}
