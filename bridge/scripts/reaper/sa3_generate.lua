-- REAPER action: generate audio of exactly the razor edit or time selection, as a new item with its takes. Never run in REAPER.

local folder = ({ reaper.get_action_context() })[2]:match("^(.*[/\\])")
local sa3 = dofile(folder .. "sa3_common.lua")
local host = dofile(folder .. "sa3_reaper.lua")(sa3)

local first, last, track = host.selected_range()
if not first then return host.tell("Make a time selection or a razor edit and start this again.") end
track = track or reaper.GetSelectedTrack(0, 0)
if not track then return host.tell("Select the track that shall get the audio.") end

local given, answers = reaper.GetUserInputs("sa3-daw: generate", 3, "Prompt,Not,Seed (empty: any),separator=|,extrawidth=200", "||")
if not given then return end
local prompt, negative_prompt, seed = answers:match("^([^|]*)|([^|]*)|([^|]*)$")
if not prompt or prompt == "" then return end

local base = host.new_base()
local request = host.musical_time({
    prompt = prompt,
    negative_prompt = negative_prompt,
    seed = math.tointeger(tonumber(seed)),
    sample_rate = host.sample_rate(),
    output = base .. ".wav",
}, first)
local _, num_samples = sa3.range_samples(first, last, request.sample_rate)
request.num_samples = num_samples
host.run(sa3.generate_words(request), base, "sa3-daw", function(paths) host.insert_item(paths, track, first, last) end)
