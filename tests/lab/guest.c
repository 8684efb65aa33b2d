/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The only program of the guest in a lab machine: writes to each cache line of as much memory as
 * it can get, reads it back, says so on the console in a line that starts with "guest: ", and turns
 * the guest off.
 */

#define _GNU_SOURCE
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define STEP (64 / sizeof(uint64_t)) /* words to the next cache line */

/* Another value in each of them, so that no page passes for another one. */
static uint64_t value(uint64_t i) {
        return (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static void use_memory(void) {
        struct sysinfo info;
        uint64_t size, wrong = 0, *words;

        if (sysinfo(&info) < 0)
                return perror("guest: sysinfo");
        size = (uint64_t)info.freeram * info.mem_unit / 10 * 9 / MIB * MIB;
        words = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (words == MAP_FAILED)
                return perror("guest: mmap");
        for (uint64_t i = 0; i < size / sizeof(*words); i += STEP)
                words[i] = value(i);
        for (uint64_t i = 0; i < size / sizeof(*words); i += STEP)
                wrong += words[i] != value(i);
        printf("guest: memory=%" PRIu64 "M written=%" PRIu64 "M wrong=%" PRIu64 "\n",
               (uint64_t)info.totalram * info.mem_unit / MIB, size / MIB, wrong);
}

int main(void) {
        use_memory();
        fflush(stdout);
        (void)reboot(RB_POWER_OFF);
        return 1; /* the guest panics, which ends it, too */
}
