// Answers of a nextvit bundle for one picture, with ONNX Runtime's C++ API and nlohmann/json: README.md says how to build.
//   ./classify photos-onnx-fp32.nextvit picture.ppm
// The picture is a binary PPM (P6, 8 bits) of the model's size.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <onnxruntime_cxx_api.h>

std::vector<uint8_t> read_ppm(const std::string& path, int64_t width, int64_t height) {
    std::ifstream file(path, std::ios::binary);
    std::string magic;
    int64_t w = 0, h = 0, white = 0;
    file >> magic >> w >> h >> white;
    if (magic != "P6" || w != width || h != height || white != 255)
        throw std::runtime_error(path + ": must be a binary PPM of " + std::to_string(width) + "x" + std::to_string(height));
    std::vector<uint8_t> pixels(3 * width * height);
    file.ignore(1).read(reinterpret_cast<char*>(pixels.data()), pixels.size());
    if (!file) throw std::runtime_error(path + ": ends early");
    return pixels;
}

int main(int count, char** arguments) try {
    if (count != 3) throw std::runtime_error("usage: classify BUNDLE PICTURE.ppm");
    const std::string bundle = arguments[1];
    std::ifstream text(bundle + "/manifest.json");
    if (!text) throw std::runtime_error(bundle + ": not a bundle, it has no manifest.json");
    const auto manifest = nlohmann::json::parse(text);
    if (manifest.at("format") > 2 || manifest.at("backend") != "onnx")
        throw std::runtime_error(bundle + ": not an ONNX bundle of format 1 or 2");
    const auto& card = manifest.at("card");
    const int64_t height = card.at("input").at("image_size")[0], width = card.at("input").at("image_size")[1];
    std::vector<uint8_t> pixels = read_ppm(arguments[2], width, height);
    Ort::Env environment(ORT_LOGGING_LEVEL_ERROR, "nextvit");
    const std::filesystem::path model = bundle + "/" + manifest.at("model_file").get<std::string>();
    Ort::Session session(environment, model.c_str(), Ort::SessionOptions());
    const int64_t shape[] = {1, height, width, 3};
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const auto images = Ort::Value::CreateTensor<uint8_t>(memory, pixels.data(), pixels.size(), shape, 4);
    const char *input = "images", *output = "logits";
    const auto outputs = session.Run(Ort::RunOptions(), &input, &images, 1, &output, 1);
    const float* logits = outputs[0].GetTensorData<float>();
    const auto& classes = card.at("classes");
    if (outputs[0].GetTensorTypeAndShapeInfo().GetElementCount() != classes.size())
        throw std::runtime_error(bundle + ": the model does not answer one value for each class");
    const bool many = card.at("task") == "multilabel";  // each class alone; else the best of all
    const double largest = *std::max_element(logits, logits + classes.size());
    double sum = 0;
    for (size_t i = 0; i < classes.size(); ++i) sum += std::exp(logits[i] - largest);
    for (size_t i = 0; i < classes.size(); ++i) {
        const double probability = many ? 1 / (1 + std::exp(-double(logits[i]))) : std::exp(logits[i] - largest) / sum;
        if (many ? probability >= card.at("thresholds")[i].get<double>() : logits[i] == largest)
            std::cout << classes[i].get<std::string>() << '\t' << std::fixed << probability << '\n';
    }
} catch (const std::exception& error) {
    return std::cerr << error.what() << "\n", 2;
}
