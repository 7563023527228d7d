-- REAPER action: generate audio of exactly the razor edit or time selection, as a new item with its takes. Never run in REAPER.

local folder = ({ reaper.get_action_context() })[2]:match("^(.*[/\\])")
local sa3 = dofile(folder .. "sa3_common.lua")
local host = dofile(folder .. "sa3_reaper.lua")(sa3)

local first, last, track = host.selected_range()
if not first then return host.tell("Make a time selection or a razor edit and start this again.") end
track = track or reaper.GetSelectedTrack(0, 0)
if not track then return host.tell("Select the track that shall get the audio.") end

local answers = host.ask("generate", { "Prompt", "Not (needs guidance above 1)", "Guidance (empty: own)", "Seed (empty: any)" })
if not answers then return end
local prompt, negative_prompt = answers[1], answers[2]
local guidance = host.guidance(answers[3])
if guidance == false then return end
local seed = host.seed(answers[4])
if seed == false then return end
if prompt == "" then return host.tell("Write a prompt: what shall be heard.") end

local base = host.new_base()
local request = host.musical_time({
    prompt = prompt,
    negative_prompt = negative_prompt,
    guidance = guidance,
    seed = seed,
    sample_rate = host.sample_rate(),
    output = base .. ".wav",
}, first)
local _, num_samples = sa3.range_samples(first, last, request.sample_rate)
local start_bar, start_ppq = host.start_bar(request, first)
request.num_samples, request.start_bar = num_samples, start_bar
host.follow_tempo(request, base, first, last, start_ppq)
host.run(sa3.generate_words(request), base, "sa3-daw", function(paths) host.insert_item(paths, track, first, last) end)
