// Messages between the ranks of a communicator, waited for with a time-out, and kernels that run beside them.
#pragma once

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "muattn/mpi/worker.hpp"
#include "muattn/muattn.hpp"

namespace muattn::mpi {

// Another rank does not answer, or MPI reports an error, where it does not end the program (Open MPI ends it where a non-blocking collective fails,
// unless MPI_COMM_WORLD has MPI_ERRORS_RETURN). The group is of no more use then.
class CommunicationError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

namespace detail {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;
constexpr std::chrono::microseconds kBetweenTests(100);  // of messages that are under way

class Transfers;

class Messages {
public:
    Messages(MPI_Comm comm, Seconds timeout) : timeout_(timeout) {
        const auto require = [](bool holds, const char *rule) {
            if (!holds) {
                throw Error(MUATTN_INVALID_ARGUMENT, (std::string("Group: ") + rule).c_str());
            }
        };
        int is_initialized = 0, is_finalized = 0, is_between_groups = 0;
        MPI_Initialized(&is_initialized);
        MPI_Finalized(&is_finalized);
        require(is_initialized && !is_finalized, "MPI is not initialised, or has been finalised");
        MPI_Query_thread(&level_);
        require(level_ >= MPI_THREAD_FUNNELED,
                "MPI must be initialised by MPI_Init_thread() with MPI_THREAD_FUNNELED or above, as kernels run on "
                "threads of their own");
        require_thread("Group");
        require(comm != MPI_COMM_NULL, "comm is MPI_COMM_NULL: this process is not one of its ranks");
        MPI_Comm_test_inter(comm, &is_between_groups);
        require(!is_between_groups, "comm must be of one group of ranks, not an intercommunicator");
        check("Group", MPI_Comm_dup(comm, &comm_));
        try {
            require(timeout.count() > 0, "timeout must be above 0");
            check("Group", MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN));
            check("Group", MPI_Comm_rank(comm_, &rank_));
            check("Group", MPI_Comm_size(comm_, &size_));
        } catch (...) {
            MPI_Comm_free(&comm_);
            throw;
        }
    }
    Messages(const Messages &) = delete;
    Messages &operator=(const Messages &) = delete;
    ~Messages() {
        int is_finalized = 0;
        MPI_Finalized(&is_finalized);
        if (why_broken_.empty() && !is_finalized) {
            MPI_Comm_free(&comm_);
        }
    }

    int rank() const { return rank_; }
    int size() const { return size_; }

    void check(const char *what, int code) {
        if (code != MPI_SUCCESS) {
            char text[MPI_MAX_ERROR_STRING] = "";
            int length = 0;
            MPI_Error_string(code, text, &length);
            fail(what, text);
        }
    }
    [[noreturn]] void fail(const char *what, const std::string &reason) {
        set_broken(reason);
        throw CommunicationError(
            std::string(what) +
            ": the exchange with the other ranks failed, and this group is of no more use: " + reason);
    }
    void set_broken(const std::string &reason) {
        if (why_broken_.empty()) {
            why_broken_ = reason;
        }
    }
    // At the start of each call.
    void require_usable(const char *what) {
        require_thread(what);
        if (!why_broken_.empty()) {
            fail(what, "an earlier call had failed: " + why_broken_);
        }
    }

    // Runs work while the transfers that are under way go on. Most of what MPI sends moves in calls of MPI alone, so this thread
    // makes some.
    void beside(const std::function<void()> &work);

private:
    friend class Transfers;

    void require_thread(const char *what) const {
        int is_main = 1;
        if (level_ == MPI_THREAD_FUNNELED) {
            MPI_Is_thread_main(&is_main);
        }
        if (!is_main) {
            throw Error(
                MUATTN_INVALID_ARGUMENT,
                (std::string(what) + ": with MPI_THREAD_FUNNELED the thread that initialised MPI is to make the call")
                    .c_str());
        }
    }
    bool all_have_ended();

    MPI_Comm comm_ = MPI_COMM_NULL;
    Seconds timeout_;
    int rank_ = 0, size_ = 1, level_ = MPI_THREAD_SINGLE;
    std::string why_broken_;
    std::vector<Transfers *> under_way_;
    Worker worker_;
};

// From where all ranks have agreed to a call to the end of its last message. An exception in between is of this rank alone: the others wait for
// messages that do not come, so that the next ones would be taken for these.
class Exchange {
public:
    explicit Exchange(Messages &messages) : messages_(messages), exceptions_(std::uncaught_exceptions()) {}
    Exchange(const Exchange &) = delete;
    Exchange &operator=(const Exchange &) = delete;
    ~Exchange() {
        if (messages_.size() > 1 && std::uncaught_exceptions() > exceptions_) {
            messages_.set_broken("on this rank, after all ranks had agreed to it");
        }
    }

private:
    Messages &messages_;
    int exceptions_;
};

// Messages that are waited for together. They keep what memory they are given until all have ended.
class Transfers {
public:
    Transfers(Messages &messages, const char *what)
        : messages_(messages), what_(what), memory_(std::make_unique<std::vector<std::shared_ptr<void>>>()) {
        messages_.under_way_.push_back(this);
    }
    Transfers(const Transfers &) = delete;
    Transfers &operator=(const Transfers &) = delete;
    ~Transfers() {
        auto &all = messages_.under_way_;
        all.erase(std::find(all.begin(), all.end(), this));
        if (!requests_.empty()) {  // after an error: MPI may still read or write this memory, so that it is never freed
            messages_.set_broken("messages were under way");
            memory_.release();
        }
    }

    void send(const void *data, int64_t count, MPI_Datatype type, int to, int tag) {
        begin(MPI_Isend(data, int(count), type, to, tag, messages_.comm_, next()));
    }
    void receive(void *data, int64_t count, MPI_Datatype type, int source, int tag) {
        begin(MPI_Irecv(data, int(count), type, source, tag, messages_.comm_, next()));
    }
    // Of each rank, in place: data has room for all ranks' counts, in the order of the ranks.
    void all_gather(int64_t *data, int count) {
        begin(MPI_Iallgather(MPI_IN_PLACE, 0, MPI_INT64_T, data, count, MPI_INT64_T, messages_.comm_, next()));
    }
    void all_gather(char *data, int count) {
        begin(MPI_Iallgather(MPI_IN_PLACE, 0, MPI_CHAR, data, count, MPI_CHAR, messages_.comm_, next()));
    }
    // Adds up the ranks' data in place.
    void sum(float *data, int64_t count) {
        constexpr int64_t kMost = INT64_C(1) << 30;  // MPI counts in int
        for (int64_t at = 0; at < count; at += kMost) {
            const int part = int(std::min(count - at, kMost));
            begin(MPI_Iallreduce(MPI_IN_PLACE, data + at, part, MPI_FLOAT, MPI_SUM, messages_.comm_, next()));
        }
    }
    // counts and starts: for each rank, until all have ended.
    void all_to_all(const void *sent, const int *sent_counts, const int *sent_starts, void *received,
                    const int *received_counts, const int *received_starts, MPI_Datatype type) {
        begin(MPI_Ialltoallv(sent, sent_counts, sent_starts, type, received, received_counts, received_starts, type,
                             messages_.comm_, next()));
    }
    void keep(std::shared_ptr<void> memory) { memory_->push_back(std::move(memory)); }

    // Whether all have ended.
    bool test() {
        int all = 1;
        if (!requests_.empty()) {
            messages_.check(what_, MPI_Testall(int(requests_.size()), requests_.data(), &all, MPI_STATUSES_IGNORE));
        }
        if (all) {
            requests_.clear();
            memory_->clear();
        }
        return all != 0;
    }
    void wait() {
        constexpr Seconds kShort(0.002);  // for as long a processor is kept
        const Clock::time_point begin = Clock::now();
        while (!requests_.empty()) {
            messages_.all_have_ended();
            const Seconds waited = Clock::now() - begin;
            if (!requests_.empty() && waited > messages_.timeout_) {
                messages_.fail(what_, "no answer within " + std::to_string(messages_.timeout_.count()) + " seconds");
            }
            if (waited < kShort) {
                std::this_thread::yield();
            } else {
                std::this_thread::sleep_for(kBetweenTests);
            }
        }
        test();
    }

private:
    MPI_Request *next() {
        requests_.push_back(MPI_REQUEST_NULL);
        return &requests_.back();
    }
    void begin(int code) {
        if (code != MPI_SUCCESS) {
            requests_.pop_back();
            messages_.check(what_, code);
        }
    }

    Messages &messages_;
    const char *what_;
    std::vector<MPI_Request> requests_;
    std::unique_ptr<std::vector<std::shared_ptr<void>>> memory_;
};

inline bool Messages::all_have_ended() {
    bool all = true;
    for (Transfers *transfers : under_way_) {
        all &= transfers->test();
    }
    return all;
}

inline void Messages::beside(const std::function<void()> &work) {
    if (all_have_ended() && !worker_.has_started()) {
        work();
        return;
    }
    worker_.start(work);
    try {
        while (!all_have_ended() && !worker_.is_done_within(kBetweenTests)) {
        }
    } catch (...) {
        worker_.finish();  // it uses memory of the caller's, who gets the error then
        throw;
    }
    worker_.finish();
}

}  // namespace detail

// The ranks of a communicator, for the functions of muattn/mpi.hpp: make one, and keep it. All ranks call the constructor, which waits for them without
// a time-out, and the destructor, which comes before MPI_Finalize(). It is neither copied nor moved.
//
// MPI must be initialised by MPI_Init_thread() with MPI_THREAD_FUNNELED or above; with that level the thread that did it makes all calls. Kernels
// run beside it, where muattn_last_kernel() of the caller does not see them. A group serves one call at a time. Messages go through a duplicate of
// the communicator, and do not meet the program's own.
class Group {
public:
    // timeout: seconds that a call waits for another rank; infinity: for ever.
    // Throws Error (MUATTN_INVALID_ARGUMENT) where MPI is not initialised so, comm is none, or timeout is not above 0.
    explicit Group(MPI_Comm comm, std::chrono::duration<double> timeout = std::chrono::minutes(30))
        : messages_(comm, timeout) {}

    int rank() const { return messages_.rank(); }
    int size() const { return messages_.size(); }

    // For the functions of this library.
    detail::Messages &messages() { return messages_; }

private:
    detail::Messages messages_;
};

}  // namespace muattn::mpi
