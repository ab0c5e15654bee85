// A CUDA driver that finds no device, and remembers that it was asked.
extern "C" {
int muattn_test_times_asked = 0;
int cuInit(unsigned) { return 0; }
int cuDeviceGetCount(int *count) {
    muattn_test_times_asked++;
    *count = 0;
    return 0;
}
}
