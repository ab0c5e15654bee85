// The threads that loops run on. docs/design.md says why they are the library's own.
#pragma once

namespace muattn::thread_pool {

inline constexpr int kMostThreads = 256;

// Does the next part of a loop; false: none was left. Any number of threads may be in it at once.
using NextPart = bool (*)(void *loop);

// Does a loop's parts on at most `threads` threads, the calling one among them, and returns when all are done. What other calls have
// begun goes on: the pool's threads are shared out evenly, and each looks for where it is wanted most when another loop begins.
void run(NextPart next_part, void *loop, int parts, int threads);

// Around fork(): nobody changes anything between the first two. The child has the forking thread alone.
void hold();
void let_go();
void start_anew_in_child();

}  // namespace muattn::thread_pool
