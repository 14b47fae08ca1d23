"""The file of a version that is opened first, by the name of its format."""

FORMAT_FILES = {
    "savedmodel": "saved_model.pb",
    "onnx": "model.onnx",
    "openvino": "model.xml",
    "litert": "model.tflite",
}
