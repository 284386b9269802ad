/* Threads of a block, or of the blocks of a cluster, as fibers that take turns. */
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#if !defined __x86_64__ || defined __SANITIZE_ADDRESS__
#define SHIM_UCONTEXT /* portable, and known to the sanitizer; it makes two system calls a switch */
#include <ucontext.h>
#endif

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

/* Without a name around it, so that each library has its own. */
namespace {
namespace shim {

enum class State { ready, at_barrier, at_shuffle, at_cluster, at_message, at_packet, at_counter, done };

struct Warp {
    alignas(16) unsigned char in[32][32]; /* what lanes hand in, */
    alignas(16) unsigned char out[32][32]; /* and what each then reads */
    unsigned waiting;
};

struct Block {
    dim3 index;
    unsigned place, rank;  /* among all that run at once, and in its cluster */
    unsigned char *memory; /* shared */
    std::vector<Warp> warps;
    unsigned finished, waiting, at_cluster; /* threads; of a cluster's first block: of all of it */
    int kind, gathered, answer; /* of the barrier that threads wait at */
};

/* An mbarrier, in the eight bytes of shared memory that it has: one thread arrives in a phase. */
struct Mbarrier {
    int bytes; /* still to come; below zero if they came before the thread */
    short pending;
    unsigned short phase;
};

/* Bytes on their way from memory to shared memory. */
struct Fetch {
    unsigned char *to;
    const unsigned char *from; /* nullptr: they have been read already */
    size_t count;
    unsigned char bytes[16];
};

struct Fiber {
#ifdef SHIM_UCONTEXT
    static constexpr size_t stack_bytes = 256 * 1024;
    ucontext_t context;
#else
    static constexpr size_t stack_bytes = 64 * 1024;
    void *context;
#endif
    std::unique_ptr<char[]> stack{new char[stack_bytes]};
    Block *block;
    unsigned self; /* its number in the block */
    dim3 thread;
    State state;
    const Mbarrier *barrier; /* that it waits at, */
    unsigned parity;         /* for this phase to be over */
    const uint64_t *packet; /* that it waits for, */
    unsigned number;        /* to have this one in its upper half, */
    const unsigned *counter; /* that it waits for, to be so much at least */
    unsigned least;
    std::vector<Fetch> fetches;
};

/* Bytes on their way to another block, and the barrier that counts them; or a packet, to memory, or
 * one more for a counter there. */
struct Message {
    unsigned *counter;
    uint64_t *memory, packet;
    Block *to;
    size_t place, barrier;
    unsigned char bytes[16];
};

/* What is running: one block, or the blocks of a cluster or of a whole grid. */
struct Machine {
    dim3 grid, size;
    std::vector<Block> blocks;
    std::vector<Fiber> fibers; /* kept, as their stacks are */
    std::vector<Message> messages;
    Fiber *now;
    unsigned threads, cluster; /* of a block; blocks of a cluster */
    const char *error;
    void (*body)(void *);
    void *argument;
    uint64_t dice;
#ifdef SHIM_UCONTEXT
    ucontext_t scheduler;
#else
    void *scheduler;
#endif
};
Machine machine;

#ifdef SHIM_UCONTEXT
inline void enter(Fiber &f) { swapcontext(&machine.scheduler, &f.context); }
inline void leave(Fiber &f) { swapcontext(&f.context, &machine.scheduler); }
#else
extern "C" __attribute__((visibility("hidden"))) void shim_switch(void **from, void *to);
__asm__(".text\n"
        "shim_switch:\n"
        "\tpushq %rbp\n\tpushq %rbx\n\tpushq %r12\n\tpushq %r13\n\tpushq %r14\n\tpushq %r15\n"
        "\tmovq %rsp, (%rdi)\n"
        "\tmovq %rsi, %rsp\n"
        "\tpopq %r15\n\tpopq %r14\n\tpopq %r13\n\tpopq %r12\n\tpopq %rbx\n\tpopq %rbp\n"
        "\tret\n");
inline void enter(Fiber &f) { shim_switch(&machine.scheduler, f.context); }
inline void leave(Fiber &f) { shim_switch(&f.context, machine.scheduler); }
#endif

inline Block &here() { return *machine.now->block; }

inline void wait(State state)
{
    machine.now->state = state;
    leave(*machine.now);
}

/* Fibers from first to before end that wait in a state go on. */
inline void release(State state, size_t first, size_t end)
{
    for (size_t n = first; n < end; n++)
        if (machine.fibers[n].state == state)
            machine.fibers[n].state = State::ready;
}

/* __syncthreads and __syncthreads_or, which must not meet. */
inline int barrier(int kind, int value)
{
    Block &b = here();
    const size_t first = (size_t)b.place * machine.threads;

    if (b.waiting && b.kind != kind)
        machine.error = "two kinds of barrier at once";
    b.kind = kind;
    b.gathered |= value;
    if (++b.waiting < machine.threads) {
        wait(State::at_barrier);
    } else {
        b.answer = b.gathered;
        b.gathered = 0;
        b.waiting = 0;
        release(State::at_barrier, first, first + machine.threads);
    }
    return b.answer;
}

/* The barrier of a cluster's blocks. */
inline void cluster_barrier()
{
    const size_t all = (size_t)machine.threads * machine.cluster;
    Block &first = machine.blocks[here().place - here().rank];

    if (++first.at_cluster < all) {
        wait(State::at_cluster);
    } else {
        first.at_cluster = 0;
        release(State::at_cluster, first.place * machine.threads, first.place * machine.threads + all);
    }
}

/* If all lanes of the running thread's warp that have not returned wait in a shuffle, they go on. */
inline bool meet()
{
    Block &b = here();
    const unsigned first = machine.now->self & ~31u, end = std::min(first + 32, machine.threads);
    const size_t before = (size_t)b.place * machine.threads;
    Warp &w = b.warps[first / 32];
    unsigned lanes = 0;

    for (unsigned n = first; n < end; n++)
        lanes += machine.fibers[before + n].state != State::done;
    if (!w.waiting || w.waiting < lanes)
        return false;
    memcpy(w.out, w.in, sizeof w.in);
    w.waiting = 0;
    release(State::at_shuffle, before + first, before + end);
    return true;
}

/* Every lane of the warp that has not returned hands in a value; when all have, what each gave. */
template <class T> const T *gather(const T &value)
{
    static_assert(sizeof(T) == sizeof here().warps[0].in[0]);
    const unsigned self = machine.now->self;
    Warp &w = here().warps[self / 32];

    memcpy(w.in[self % 32], &value, sizeof value);
    w.waiting++;
    if (!meet())
        wait(State::at_shuffle);
    return reinterpret_cast<const T *>(w.out);
}

/* And gets that of another lane. */
template <class T> T shuffle(T value, unsigned source)
{
    struct alignas(16) {
        T value;
        unsigned char rest[32 - sizeof(T)];
    } mine = {value, {}};
    const auto *all = gather(mine);
    const unsigned first = machine.now->self & ~31u;

    return first + source < machine.threads ? all[source].value : value;
}

/* A phase ends when its thread has arrived and its bytes have come. */
inline void settle(Mbarrier &m)
{
    if (m.pending == 0 && m.bytes == 0) {
        m.phase++;
        m.pending = 1;
    }
    if (m.pending < 0)
        machine.error = "a thread too many at an mbarrier";
}

[[noreturn]] inline void run_fiber()
{
    machine.body(machine.argument);
    here().finished++;
    machine.now->state = State::done;
    meet();
    leave(*machine.now);
    abort();
}

inline void begin(Fiber &f, Block &b, unsigned n)
{
    const dim3 &size = machine.size;

    f.block = &b;
    f.self = n;
    f.thread = dim3(n % size.x, n / size.x % size.y, n / size.x / size.y);
    f.state = State::ready;
    f.fetches.clear();
#ifdef SHIM_UCONTEXT
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.get();
    f.context.uc_stack.ss_size = Fiber::stack_bytes;
    f.context.uc_link = nullptr;
    makecontext(&f.context, run_fiber, 0);
#else
    /* As if it had called shim_switch: six registers, then where to go; aligned as after a call. */
    uintptr_t top = ((uintptr_t)f.stack.get() + Fiber::stack_bytes) & ~(uintptr_t)15;
    void **words = (void **)top - 8;
    std::fill(words, words + 8, nullptr);
    words[6] = (void *)run_fiber;
    f.context = words;
#endif
}

inline unsigned roll()
{
    machine.dice = machine.dice * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(machine.dice >> 32);
}

inline void arrive(const Message &message)
{
    if (message.counter) {
        ++*message.counter;
        return;
    }
    if (message.memory) {
        *message.memory = message.packet;
        return;
    }
    if (message.to->finished)
        machine.error = "a message to a block that is gone";
    auto &counter = *reinterpret_cast<Mbarrier *>(message.to->memory + message.barrier);
    memcpy(message.to->memory + message.place, message.bytes, sizeof message.bytes);
    counter.bytes -= (int)sizeof message.bytes;
    settle(counter);
}

/* Some of the messages arrive, in any order. */
inline bool deliver()
{
    Machine &m = machine;
    const bool waiting = !m.messages.empty();

    for (size_t n = 0; n < m.messages.size();) {
        if (roll() % 4 == 0) {
            n++;
            continue;
        }
        arrive(m.messages[n]);
        std::swap(m.messages[n], m.messages.back());
        m.messages.pop_back();
    }
    return waiting;
}

/* One turn for the threads of the warps that are awake; the others stay behind, so that they drift
 * apart. Says whether anyone could go on. */
inline bool turn()
{
    Machine &m = machine;
    const unsigned all = m.threads * (unsigned)m.blocks.size();
    const unsigned start = roll() % all, flip = roll() & 31;
    bool moved = deliver();

    uint64_t awake = (uint64_t)roll() << 32 ^ roll();
    for (unsigned n = 0; n < all; n++) {
        unsigned at = (n + start) % all;
        at = (at ^ flip) < all ? at ^ flip : at;
        Fiber &f = m.fibers[at];
        if (f.state == State::at_message && (f.barrier->phase & 1) != f.parity)
            f.state = State::ready;
        if (f.state == State::at_packet && *f.packet >> 32 == f.number)
            f.state = State::ready;
        if (f.state == State::at_counter && *f.counter >= f.least)
            f.state = State::ready;
        if (f.state != State::ready)
            continue;
        moved = true;
        if (awake >> (at / 32 % 61) & 1) {
            m.now = &f;
            enter(f);
        }
    }
    return moved;
}

/* All threads, in turns, until they are done or none can go on. */
inline void run_threads()
{
    Machine &m = machine;
    const auto all_done = [&] {
        return std::all_of(m.blocks.begin(), m.blocks.end(), [&](const Block &b) {
            return b.finished == m.threads;
        });
    };

    while (!all_done() && !m.error) {
        const bool moved = turn();
        for (const Block &b : m.blocks)
            if (b.waiting && b.finished)
                m.error = "a barrier that some threads never reach";
        if (!moved && !m.error && !all_done())
            m.error = "threads that wait for ever";
    }
    if (!m.messages.empty() && !m.error)
        m.error = "a message to a block that is gone";
}

} // namespace shim
} // namespace
