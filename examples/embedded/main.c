/* examples/embedded/main.c -- runs kws.o, a model that spots words, on a Cortex-M and prints the best word's number.
 *
 * docs/EMBEDDED.md says how it is compiled and run. */
#include "kws.h"
#include "start.h"

static _Alignas(KWS_ARENA_ALIGN) unsigned char arena[KWS_ARENA_BYTES];
static float input[KWS_INPUT0_BYTES / sizeof(float)], score[KWS_OUTPUT0_BYTES / sizeof(float)];

int main(void)
{
	enum { WORDS = sizeof score / sizeof *score };
	int best = 0;
	char text[] = "word 00\n";

	for (unsigned i = 0; i < sizeof input / sizeof *input; i++) /* here goes what the microphone's front end makes */
		input[i] = (float)(i % 7) - 3;
	kws_run(input, score, arena);
	for (int i = 1; i < WORDS; i++)
		best = score[i] > score[best] ? i : best;
	text[5] = (char)('0' + best / 10);
	text[6] = (char)('0' + best % 10);
	put_text(text);
	return 0;
}
