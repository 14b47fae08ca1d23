/* Asks a SavedModel through TensorFlow's C API, as a server that has no Python does.

   ask_without_python MODEL_DIRECTORY REQUESTS ANSWERS

   REQUESTS holds tensors one after the other: the inputs of a request, each with the
   name of its operation, then its outputs, of which only the names count, then the
   char 'R', and so on for the next request. ANSWERS gets the outputs in that order.
   A tensor is written as

     kind (char 'I' or 'O'), length of the name (uint32), name, index of the operation's
     output (uint32), type (uint32, TF_DataType), dimensions (uint32), each (int64),
     bytes (uint64), content

   in the byte order of the machine; a string is its length (uint64) and its bytes.
   Status 0; or 1 and what TensorFlow says on standard error. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

enum { MAX_TENSORS = 64, MAX_DIMS = 16, MAX_NAME = 1024 };

static void fail(const char* what, const char* why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static void check(TF_Status* status, const char* what) {
  if (TF_GetCode(status) != TF_OK) fail(what, TF_Message(status));
}

static void* allocate(size_t size) {
  void* memory = malloc(size ? size : 1);
  if (!memory) fail("memory", "there is not enough");
  return memory;
}

static void read_exactly(FILE* file, void* to, size_t size) {
  if (fread(to, 1, size, file) != size) fail("request", "it ends too early");
}

static void write_exactly(FILE* file, const void* from, size_t size) {
  if (fwrite(from, 1, size, file) != size) fail("answer", "it cannot be written");
}

/* Fills a tensor of numbers or strings from the file. */
static void read_content(FILE* file, TF_Tensor* tensor, uint64_t size) {
  if (TF_TensorType(tensor) != TF_STRING) {
    if (size != TF_TensorByteSize(tensor)) fail("request", "wrong size of a tensor");
    read_exactly(file, TF_TensorData(tensor), size);
    return;
  }
  TF_TString* strings = TF_TensorData(tensor);
  for (int64_t i = 0; i < TF_TensorElementCount(tensor); i++) {
    uint64_t length;
    read_exactly(file, &length, sizeof length);
    char* text = allocate(length);
    read_exactly(file, text, length);
    TF_StringInit(&strings[i]);
    TF_StringCopy(&strings[i], text, length);
    free(text);
  }
}

static void write_tensor(FILE* file, const TF_Tensor* tensor) {
  uint32_t type = TF_TensorType(tensor), num_dims = TF_NumDims(tensor);
  write_exactly(file, &type, sizeof type);
  write_exactly(file, &num_dims, sizeof num_dims);
  for (uint32_t i = 0; i < num_dims; i++) {
    int64_t dim = TF_Dim(tensor, i);
    write_exactly(file, &dim, sizeof dim);
  }
  if (type != TF_STRING) {
    uint64_t size = TF_TensorByteSize(tensor);
    write_exactly(file, &size, sizeof size);
    write_exactly(file, TF_TensorData(tensor), size);
    return;
  }
  const TF_TString* strings = TF_TensorData(tensor);
  uint64_t size = 0;
  for (int64_t i = 0; i < TF_TensorElementCount(tensor); i++)
    size += sizeof(uint64_t) + TF_StringGetSize(&strings[i]);
  write_exactly(file, &size, sizeof size);
  for (int64_t i = 0; i < TF_TensorElementCount(tensor); i++) {
    uint64_t length = TF_StringGetSize(&strings[i]);
    write_exactly(file, &length, sizeof length);
    write_exactly(file, TF_StringGetDataPointer(&strings[i]), length);
  }
}

/* Reads the next tensor's kind, place in the graph and content; or only a kind: 'R' at
   the end of a request, 0 at the end of the file. */
static int read_tensor(FILE* file, TF_Graph* graph, TF_Output* place,
                       TF_Tensor** tensor) {
  int kind = fgetc(file);
  if (kind == EOF) return 0;
  if (kind == 'R') return kind;
  char name[MAX_NAME + 1];
  uint32_t length, index, type, num_dims;
  int64_t dims[MAX_DIMS];
  uint64_t size, count = 1;
  read_exactly(file, &length, sizeof length);
  if (length > MAX_NAME) fail("request", "a name is too long");
  read_exactly(file, name, length);
  name[length] = 0;
  read_exactly(file, &index, sizeof index);
  read_exactly(file, &type, sizeof type);
  read_exactly(file, &num_dims, sizeof num_dims);
  if (num_dims > MAX_DIMS) fail("request", "a tensor has too many dimensions");
  read_exactly(file, dims, num_dims * sizeof dims[0]);
  read_exactly(file, &size, sizeof size);
  place->oper = TF_GraphOperationByName(graph, name);
  place->index = index;
  if (!place->oper) fail(name, "the graph has no such operation");
  if (kind == 'O') return kind;
  for (uint32_t i = 0; i < num_dims; i++) count *= dims[i];
  size_t bytes = type == TF_STRING ? count * sizeof(TF_TString) : size;
  *tensor = TF_AllocateTensor(type, dims, num_dims, bytes);
  if (!*tensor) fail("memory", "there is not enough for a tensor");
  read_content(file, *tensor, size);
  return kind;
}

/* Answers the next request of the file; 0 if there is none. */
static int answer_next(FILE* requests, FILE* answers, TF_Graph* graph,
                       TF_Session* session, TF_Status* status) {
  TF_Output inputs[MAX_TENSORS], outputs[MAX_TENSORS], place;
  TF_Tensor *given[MAX_TENSORS], *found[MAX_TENSORS], *tensor;
  int num_inputs = 0, num_outputs = 0, kind;
  while ((kind = read_tensor(requests, graph, &place, &tensor)) && kind != 'R') {
    if (num_inputs == MAX_TENSORS || num_outputs == MAX_TENSORS)
      fail("request", "it has too many tensors");
    if (kind == 'O') {
      outputs[num_outputs++] = place;
    } else {
      inputs[num_inputs] = place;
      given[num_inputs++] = tensor;
    }
  }
  if (!kind) {
    if (num_inputs || num_outputs) fail("request", "it ends too early");
    return 0;
  }
  TF_SessionRun(session, NULL, inputs, given, num_inputs, outputs, found, num_outputs,
                NULL, 0, NULL, status);
  check(status, "run");
  for (int i = 0; i < num_outputs; i++) write_tensor(answers, found[i]);
  for (int i = 0; i < num_inputs; i++) TF_DeleteTensor(given[i]);
  for (int i = 0; i < num_outputs; i++) TF_DeleteTensor(found[i]);
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 4) fail("usage", "ask_without_python MODEL_DIRECTORY REQUESTS ANSWERS");
  TF_Status* status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  const char* tags[] = {"serve"};
  TF_Session* session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1,
                                                     graph, NULL, status);
  check(status, argv[1]);

  FILE* requests = fopen(argv[2], "rb");
  if (!requests) fail(argv[2], "it cannot be read");
  FILE* answers = fopen(argv[3], "wb");
  if (!answers) fail(argv[3], "it cannot be written");
  while (answer_next(requests, answers, graph, session, status)) {
  }
  fclose(requests);
  if (fclose(answers)) fail(argv[3], "it cannot be written");

  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
