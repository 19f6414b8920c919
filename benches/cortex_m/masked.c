/* QEMU TCG plugin: every stretch of instructions run with interrupts off.
 *
 * Prints `masked ADDRESS COUNT` to standard error: the address of the `cpsid i` that began the stretch, and the
 * instructions behind it up to and including the `cpsie i` or `msr primask` that ended it. Handlers that a
 * stretch delays do not run inside it, so the count is what the stretch adds to an interrupt's latency.
 * Written against version 1 of the plugin interface; the few declarations are here because distributions ship
 * no qemu-plugin.h with their QEMU. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t plugin_id;
struct block;
struct instruction;
enum { NO_REGISTERS = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct block *));
extern size_t qemu_plugin_tb_n_insns(const struct block *);
extern struct instruction *qemu_plugin_tb_get_insn(const struct block *, size_t);
extern uint64_t qemu_plugin_insn_vaddr(const struct instruction *);
extern size_t qemu_plugin_insn_size(const struct instruction *);
extern const void *qemu_plugin_insn_data(const struct instruction *);
extern void qemu_plugin_register_vcpu_insn_exec_cb(
    struct instruction *, void (*)(unsigned, void *), int, void *);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

static int masked;
static uint64_t began_at, count;

static void plain(unsigned cpu, void *address)
{
    (void)cpu, (void)address;
    count++;
}

static void mask(unsigned cpu, void *address)
{
    (void)cpu;
    /* A nested one lengthens the stretch that is open. */
    if (masked) {
        count++;
        return;
    }
    masked = 1;
    began_at = (uint64_t)address;
    count = 0;
}

static void unmask(unsigned cpu, void *address)
{
    (void)cpu, (void)address;
    count++;
    if (masked)
        fprintf(stderr, "masked %llx %llu\n", (unsigned long long)began_at, (unsigned long long)count);
    masked = 0;
}

static void translate(plugin_id id, struct block *block)
{
    (void)id;
    size_t instructions = qemu_plugin_tb_n_insns(block);
    for (size_t i = 0; i < instructions; i++) {
        struct instruction *instruction = qemu_plugin_tb_get_insn(block, i);
        uint16_t first, second = 0;
        const char *bytes = qemu_plugin_insn_data(instruction);
        memcpy(&first, bytes, 2);
        if (qemu_plugin_insn_size(instruction) == 4)
            memcpy(&second, bytes + 2, 2);
        int is_cpsid = first == 0xb672;
        int is_cpsie = first == 0xb662;
        int is_msr_primask = (first & 0xfff0) == 0xf380 && second == 0x8810;
        qemu_plugin_register_vcpu_insn_exec_cb(instruction,
            is_cpsid ? mask : is_cpsie || is_msr_primask ? unmask : plain, NO_REGISTERS,
            (void *)(uintptr_t)qemu_plugin_insn_vaddr(instruction));
    }
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    return 0;
}
