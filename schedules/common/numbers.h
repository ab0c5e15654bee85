// The numbers of a schedule by name. Each schedule lists those of its members that may be overridden, in numbers(); generator
// parameters, tuned files, the registry and the tuner go by that list.
#pragma once

namespace muattn::schedule {

template<typename Schedule>
struct Number {
    const char *name;
    int Schedule::*member;
};

// Of one schedule, in the order of its numbers(); 0: the default.
struct NumberValues {
    static constexpr int kMost = 8;
    int values[kMost] = {};
};

struct NamedValue {
    const char *name;
    int value;
};

constexpr bool same_text(const char *a, const char *b) {
    while (*a != '\0' && *a == *b) {
        a++, b++;
    }
    return *a == *b;
}

// What is named here, of a schedule's numbers. A name that the schedule does not have counts for nothing.
template<typename Schedule, int count>
constexpr NumberValues values_by_name(const NamedValue (&named)[count]) {
    NumberValues result;
    int index = 0;
    for (const auto &number : Schedule::numbers()) {
        for (const NamedValue &one : named) {
            if (same_text(number.name, one.name)) {
                result.values[index] = one.value;
            }
        }
        index++;
    }
    static_assert(Schedule::numbers().size() <= NumberValues::kMost);
    return result;
}

// Whether a schedule keeps a number of its own whatever a tuned file says.
template<typename Schedule>
constexpr bool is_fixed(const Schedule &, int Schedule::*) {
    return false;
}

template<typename Schedule>
constexpr Schedule overridden(Schedule schedule, const NumberValues &numbers) {
    int index = 0;
    for (const auto &number : Schedule::numbers()) {
        const int value = numbers.values[index++];
        if (value != 0 && !is_fixed(schedule, number.member)) {
            schedule.*number.member = value;
        }
    }
    return schedule;
}

}  // namespace muattn::schedule
