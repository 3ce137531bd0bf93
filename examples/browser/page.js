import { caption, load } from "./captioner.js";

const [drop, image, output] = ["#drop", "img", "output"].map((name) => document.querySelector(name));
const model = load(new URLSearchParams(location.search).get("model") ?? "model");

async function show(file) {
  output.textContent = "…";
  try {
    const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    context.fillStyle = "white"; // behind transparent pixels, as in training
    context.fillRect(0, 0, bitmap.width, bitmap.height);
    context.drawImage(bitmap, 0, 0);
    if (image.src) URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(file);
    const { text, score } = await caption(await model, context.getImageData(0, 0, bitmap.width, bitmap.height));
    output.textContent = `${text} (${score.toFixed(2)})`;
  } catch (error) {
    output.textContent = `${file.name}: ${error.message}`;
  }
}

drop.querySelector("input").addEventListener("change", ({ target }) => target.files.length && show(target.files[0]));
drop.addEventListener("dragover", (event) => event.preventDefault());
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) show(event.dataTransfer.files[0]);
});
model.then(
  () => { output.textContent = "The model is loaded."; },
  (error) => { output.textContent = `The model cannot be loaded: ${error.message}`; },
);
