// Evaluate pictures for tools/compare.py: node face_api.js FOLDER, the one with node_modules.
// Input and output: see python_tool.py. TensorFlow.js runs in WebAssembly, from npm's files.
const fs = require('fs');
const path = require('path');
console.log = console.error; // stdout has only the results
const load = require('module').createRequire(path.resolve(process.argv[2]) + '/');

async function main() {
  const tf = load('@tensorflow/tfjs');
  const wasm = load('@tensorflow/tfjs-backend-wasm');
  wasm.setWasmPaths(path.dirname(load.resolve('@tensorflow/tfjs-backend-wasm')) + '/');
  const faceapi = load('@vladmandic/face-api/dist/face-api.node-wasm.js');
  await tf.setBackend('wasm');
  await tf.ready();
  const folder = path.join(path.dirname(load.resolve('@vladmandic/face-api/package.json')), 'model');
  for (const net of ['tinyFaceDetector', 'faceLandmark68Net', 'faceExpressionNet']) {
    await faceapi.nets[net].loadFromDisk(folder);
  }
  const print = (values) => fs.writeSync(1, JSON.stringify(values) + '\n');
  print({ name: `face-api ${faceapi.version}` });
  const options = new faceapi.TinyFaceDetectorOptions();
  for await (const line of require('readline').createInterface({ input: process.stdin })) {
    const [file, width, height] = JSON.parse(line);
    const picture = fs.readFileSync(file);
    const start = process.cpuUsage();
    const image = tf.tensor3d(new Int32Array(picture), [height, width, 3], 'int32');
    // The landmarks turn the face upright, as the tutorial recommends.
    const faces = await faceapi.detectAllFaces(image, options).withFaceLandmarks().withFaceExpressions();
    image.dispose();
    faces.sort((a, b) => b.detection.box.area - a.detection.box.area);
    const [best] = faces.length ? faces[0].expressions.asSortedArray() : [{ expression: null }];
    const used = process.cpuUsage(start);
    print({ label: best.expression, ms: (used.user + used.system) / 1e3 });
  }
}

main().catch((error) => { console.error(String(error.message).split('\n')[0]); process.exit(1); });
