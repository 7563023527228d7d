// The list of takes with its history of choices. Knows no daemon and no window.
#include "take_book.h"

#include <algorithm>

namespace sa3::plugin {

std::int64_t TakeBook::add(TakeEntry entry) {
    entry.key = next_key_++;
    entries_.push_back(std::move(entry));
    const auto added = entries_.back().key;
    if (entries_.size() > kMaxTakes) {
        const auto spare = std::find_if(entries_.begin(), entries_.end(), [this, added](const TakeEntry& candidate) {
            return !candidate.facts.starred && !candidate.is_live && candidate.key != chosen_key() &&
                   candidate.key != added;
        });
        if (spare != entries_.end()) remove(spare->key);
    }
    return added;
}

TakeEntry* TakeBook::find(std::int64_t key) {
    const auto found = std::find_if(entries_.begin(), entries_.end(), [key](const auto& entry) { return entry.key == key; });
    return found == entries_.end() ? nullptr : &*found;
}

const TakeEntry* TakeBook::capture() const {
    const auto found = std::find_if(entries_.begin(), entries_.end(), [](const auto& entry) { return entry.is_capture; });
    return found == entries_.end() ? nullptr : &*found;
}

void TakeBook::remove(std::int64_t key) {
    entries_.erase(std::remove_if(entries_.begin(), entries_.end(), [key](const auto& entry) { return entry.key == key; }),
                   entries_.end());
    const auto chosen_before = chosen_key();
    std::vector<std::int64_t> kept;
    std::size_t position = 0;
    for (std::size_t i = 0; i < history_.size(); ++i) {
        if (history_[i] != key && (kept.empty() || kept.back() != history_[i])) kept.push_back(history_[i]);
        if (i == position_ && !kept.empty()) position = kept.size() - 1;
    }
    history_ = std::move(kept);
    position_ = position;
    if (a_b_partner_ == key || a_b_partner_ == chosen_before) a_b_partner_ = 0;
}

void TakeBook::choose(std::int64_t key) {
    if (key == chosen_key()) return;
    a_b_partner_ = chosen_key();
    if (!history_.empty()) history_.resize(position_ + 1);
    history_.push_back(key);
    position_ = history_.size() - 1;
}

void TakeBook::undo() {
    if (can_undo()) --position_;
}

void TakeBook::redo() {
    if (can_redo()) ++position_;
}

void TakeBook::toggle_a_b() {
    if (find(a_b_partner_)) choose(a_b_partner_);
}

}  // namespace sa3::plugin
