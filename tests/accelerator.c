/* A tiny external delegate of TFLite's plug-in interface, as libedgetpu is one: it takes the model's first operation, the
 * QUANTIZE of the picture, and computes it itself. How the device behaves stands in the file that TEST_ACCELERATOR_MOOD names,
 * read at each frame: ok, lost (an error, as after unplugging), crash, hang, wrong (other numbers).
 * TEST_ACCELERATOR_OPEN says what happens when it is created: ok, null (no device), crash (built for another runtime).
 * The structs are the beginnings of those in TensorFlow's tensorflow/lite/core/c/common.h, whose order is fixed. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { int size; int data[]; } IntArray;
typedef struct { int type; uint8_t* data; IntArray* dims; float scale; int zero; int allocation; size_t bytes;
                 const void* memory; const char* name; void* delegate; int handle; char stale, variable;
                 int kind; void* quantization; void* sparsity; const IntArray* signature; } Tensor;
typedef struct { IntArray *inputs, *outputs, *intermediates, *temporaries; void *user, *builtin; } Node;
struct Context; struct Delegate;
typedef struct { void* (*init)(struct Context*, const char*, size_t); void (*release)(struct Context*, void*);
                 int (*prepare)(struct Context*, Node*); int (*invoke)(struct Context*, Node*);
                 const char* (*profile)(const struct Context*, const Node*); int32_t builtin_code; const char* name;
                 int version; void *external, *async; uint64_t inplace; } Registration;
typedef struct Context { size_t tensors_size; int (*plan)(struct Context*, IntArray**); Tensor* tensors; void* impl;
                         int (*resize)(struct Context*, Tensor*, IntArray*);
                         void (*error)(struct Context*, const char*, ...); int (*add)(struct Context*, int, int*);
                         int (*node)(struct Context*, int, Node**, Registration**);
                         int (*replace)(struct Context*, Registration, const IntArray*, struct Delegate*); } Context;
typedef struct Delegate { void* data; int (*prepare)(Context*, struct Delegate*); void *from, *to, *release;
                          int64_t flags; void* builder; } Delegate;

static char mood_file[4096];

static int first_read(char* word, size_t size) {
    FILE* file = fopen(mood_file, "r");
    word[0] = 0;
    if (file) { if (!fgets(word, (int)size, file)) word[0] = 0; fclose(file); }
    word[strcspn(word, "\n")] = 0;
    return word[0] != 0;
}

static int ready(Context* context, Node* node) { return 0; }

static int invoke(Context* context, Node* node) {
    char mood[16];
    Tensor* in = &context->tensors[node->inputs->data[0]];
    Tensor* out = &context->tensors[node->outputs->data[0]];
    if (!first_read(mood, sizeof mood)) strcpy(mood, "ok");
    if (!strcmp(mood, "crash")) *(volatile int*)0 = 1;
    if (!strcmp(mood, "hang")) for (;;) pause();
    if (!strcmp(mood, "lost")) { context->error(context, "USB transfer error 2"); return 1; }
    uint8_t flip = !strcmp(mood, "wrong") ? 0x80 ^ 0x7f : 0x80;
    for (size_t i = 0; i < in->bytes; i++) out->data[i] = in->data[i] ^ flip;
    return 0;
}

static int prepare(Context* context, Delegate* delegate) {
    static const char name[] = "edgetpu-custom-op";
    Registration kernel = {0};
    kernel.prepare = ready;
    kernel.invoke = invoke;
    kernel.name = name;
    kernel.version = 1;
    IntArray* nodes = malloc(sizeof(IntArray) + sizeof(int));
    nodes->size = 1;
    IntArray* plan;
    if (context->plan(context, &plan)) return 1;
    nodes->data[0] = plan->data[0];
    int status = context->replace(context, kernel, nodes, delegate);
    free(nodes);
    return status;
}

#ifndef WRONG_LIBRARY
Delegate* tflite_plugin_create_delegate(char** keys, char** values, size_t count, void (*report)(const char*)) {
    for (size_t i = 0; i < count; i++) {
        if (!strcmp(keys[i], "device") && !strcmp(values[i], "usb:1")) { report("no such device"); return NULL; }
    }
    const char* open = getenv("TEST_ACCELERATOR_OPEN");
    const char* file = getenv("TEST_ACCELERATOR_MOOD");
    snprintf(mood_file, sizeof mood_file, "%s", file ? file : "");
    if (open && !strcmp(open, "crash")) *(volatile int*)0 = 1;
    if (open && !strcmp(open, "null")) return NULL;
    Delegate* delegate = calloc(1, sizeof *delegate);
    delegate->prepare = prepare;
    return delegate;
}

void tflite_plugin_destroy_delegate(Delegate* delegate) { free(delegate); }
#endif
