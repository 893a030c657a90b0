// SPDX-License-Identifier: GPL-3.0-or-later
//
// Flamenco job type: one task for each combination of model, prompt and seed, then a contact sheet.
// Copy it into the `scripts` folder beside Flamenco Manager. Each task is the headless command that
// docs/farm.md tells of; a task that is run again goes on where it stopped.

const JOB_TYPE = {
    label: "GS Diffusion",
    description: "Restyle models with diffusion and get 3D Gaussian splats back",
    settings: [
        { key: "prompts", type: "string", required: true, default: "",
          description: "Prompts, separated by |" },
        { key: "seeds", type: "string", required: true, default: "1",
          description: "Seeds, such as 1-3, 8" },
        { key: "models", type: "string", required: true, subtype: "file_path", default: "",
          eval: "bpy.data.filepath",
          description: "The .blend or model file to restyle; several are separated by |" },
        { key: "out", type: "string", required: true, subtype: "dir_path", default: "",
          description: "Folder of all runs, shared by the workers; each run gets a folder in it" },
        { key: "options", type: "string", required: false, default: "",
          description: "Further options of 'gsd run', for example --iterations 3 --size 512" },
        { key: "worker_script", type: "string", required: false, default: "",
          description: "worker.py of the add-on, to run it in the workers' Blender; empty: use gsd" },
        { key: "gsd", type: "string", required: false, default: "gsd", visible: "submission",
          description: "The program on the workers, where worker_script is empty" },
    ],
};

function compileJob(job) {
    const settings = job.settings;
    const prompts = listed(settings.prompts, "|");
    const models = listed(settings.models, "|");
    const seeds = numbers(settings.seeds);
    if (!prompts.length) throw new Error("GS Diffusion: give at least one prompt.");
    if (!models.length) throw new Error("GS Diffusion: save the .blend first, or name a model.");
    if (!seeds.length) throw new Error("GS Diffusion: give at least one seed.");
    if (!settings.out) throw new Error("GS Diffusion: choose the folder for the runs.");
    const more = words(settings.options || "");

    const sheet = author.Task("contact sheet", "misc");
    sheet.addCommand(gsd(settings, ["sheet", "--out", settings.out]));
    let number = 0;
    for (const model of models) {
        for (const prompt of prompts) {
            for (const seed of seeds) {
                number += 1;
                // The number keeps names apart; the rest is for people.
                const name = [padded(number), slug(stem(model), 20), slug(prompt, 40), "seed-" + seed]
                    .filter((part) => part).join("-");
                const source = /\.blend$/i.test(model) ? "--blend" : "--model";
                const task = author.Task(name, "render");
                task.addCommand(gsd(settings, ["run", "--out", joined(settings.out, name),
                    source + "=" + model, "--prompt=" + prompt, "--seed=" + seed].concat(more)));
                sheet.addDependency(task);
                job.addTask(task);
            }
        }
    }
    job.addTask(sheet);
}

// The headless command: gsd, or worker.py in the Blender that Flamenco's variable names.
function gsd(settings, args) {
    if (settings.worker_script) {
        const start = ["-b", "-Y", "--python-exit-code", "4", "-P", settings.worker_script, "--"];
        return author.Command("exec", { exe: "{blender}", args: start.concat(args) });
    }
    return author.Command("exec", { exe: settings.gsd || "gsd", args: args });
}

function listed(text, separator) {
    return String(text || "").split(separator).map((part) => part.trim()).filter((part) => part);
}

// "1-3, 8" -> [1, 2, 3, 8], each once.
function numbers(text) {
    const out = [];
    for (const part of listed(text, ",")) {
        const found = /^(\d+)(?:\s*-\s*(\d+))?$/.exec(part);
        if (!found) throw new Error("GS Diffusion: seeds must look like 1-3, 8; not " + part + ".");
        const last = Number(found[2] || found[1]);
        if (last - Number(found[1]) > 999) throw new Error("GS Diffusion: too many seeds: " + part + ".");
        for (let k = Number(found[1]); k <= last; k++) if (out.indexOf(k) < 0) out.push(k);
    }
    return out;
}

// Words of an options line; quotes hold words with spaces together.
function words(text) {
    const out = [];
    const pattern = /(?:[^\s"']|"[^"]*"|'[^']*')+/g;
    for (const word of text.match(pattern) || []) {
        out.push(word.replace(/"([^"]*)"|'([^']*)'/g, (_, a, b) => (a === undefined ? b : a)));
    }
    return out;
}

function slug(text, longest) {
    return text.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, longest).replace(/^-+|-+$/g, "");
}

function stem(file) {
    return file.replace(/^.*[\\/]/, "").replace(/\.[^.]*$/, "");
}

function joined(folder, name) {
    return folder.replace(/[\\/]+$/, "") + "/" + name;
}

function padded(number) {
    return ("00" + number).slice(-Math.max(3, String(number).length));
}
