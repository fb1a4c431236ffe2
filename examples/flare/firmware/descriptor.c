/*
 * The application descriptor: 256 bytes at the start of the first segment, which is byte 0x20 of
 * the image. Bootloader, esptool and Ampforge read name, version and rollback counter from here.
 *
 * Everything that would differ from machine to machine is a constant given by build.py.
 */
#include <stddef.h>
#include <stdint.h>

#define DESCRIPTOR_MAGIC 0xABCD5432u
#define MMU_PAGE_SIZE_LOG2 16

struct application_descriptor {
    uint32_t magic;
    uint32_t secure_version;
    uint32_t reserved1[2];
    char version[32];
    char project_name[32];
    char time[16];
    char date[16];
    char idf_version[32];
    uint8_t elf_sha256[32]; /* zeros here; elf2image writes the ELF file's digest */
    uint16_t min_efuse_block_revision;
    uint16_t max_efuse_block_revision;
    uint8_t mmu_page_size_log2;
    uint8_t reserved3[3];
    uint32_t reserved2[18];
};

_Static_assert(sizeof(struct application_descriptor) == 256, "the descriptor has 256 bytes");
_Static_assert(offsetof(struct application_descriptor, elf_sha256) == 144, "fixed by the format");

__attribute__((section(".application_descriptor"), used))
const struct application_descriptor application_descriptor = {
    .magic = DESCRIPTOR_MAGIC,
    .secure_version = APPLICATION_SECURE_VERSION,
    .version = APPLICATION_VERSION,
    .project_name = APPLICATION_NAME,
    .time = APPLICATION_TIME,
    .date = APPLICATION_DATE,
    .idf_version = "none",
    .min_efuse_block_revision = 0,
    .max_efuse_block_revision = 199,
    .mmu_page_size_log2 = MMU_PAGE_SIZE_LOG2,
};
